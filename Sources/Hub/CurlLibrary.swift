import CCurl
import Glibc

/// libcurl, which is loaded when something is fetched: everything else runs without it.
struct CurlLibrary: @unchecked Sendable {
  // @unchecked: addresses of functions, which never change.

  /// There is none that can be used.
  struct Missing: Error, CustomStringConvertible {
    let reason: String
    var description: String {
      "libcurl cannot be loaded: \(reason)\n       install it: apt install libcurl4 ca-certificates"
    }
  }

  typealias Initialize = @convention(c) (Int) -> Int32
  typealias MakeHandle = @convention(c) () -> UnsafeMutableRawPointer?
  typealias WithHandle = @convention(c) (UnsafeMutableRawPointer) -> Void
  typealias Perform = @convention(c) (UnsafeMutableRawPointer) -> Int32
  typealias AppendLine = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>) -> UnsafeMutableRawPointer?
  typealias ErrorText = @convention(c) (Int32) -> UnsafePointer<CChar>?

  let makeHandle: MakeHandle
  let reset: WithHandle
  let release: WithHandle
  let perform: Perform
  let appendLine: AppendLine
  let releaseLines: WithHandle
  let errorText: ErrorText
  /// `curl_easy_setopt`, for the functions of `CCurl`.
  let setOption: UnsafeMutableRawPointer

  /// As Debian's packages of both kinds call it.
  private static let fileNames = ["libcurl.so.4", "libcurl-gnutls.so.4"]

  static let shared = Result<CurlLibrary, Missing> { () throws(Missing) in try CurlLibrary(fileNames) }

  /// - Parameter files: names that the system looks for; the first one that can be loaded is taken
  init(_ files: [String]) throws(Missing) {
    var library: UnsafeMutableRawPointer?
    var reason = ""
    for file in files where library == nil {
      library = dlopen(file, RTLD_NOW | RTLD_LOCAL)
      if library == nil, reason.isEmpty { reason = dlerror().map { String(cString: $0) } ?? file }
    }
    guard let library else { throw Missing(reason: reason) }
    func address(_ name: String) throws(Missing) -> UnsafeMutableRawPointer {
      guard let address = dlsym(library, name) else { throw Missing(reason: "it lacks \(name)") }
      return address
    }
    let initialize = unsafeBitCast(try address("curl_global_init"), to: Initialize.self)
    makeHandle = unsafeBitCast(try address("curl_easy_init"), to: MakeHandle.self)
    reset = unsafeBitCast(try address("curl_easy_reset"), to: WithHandle.self)
    release = unsafeBitCast(try address("curl_easy_cleanup"), to: WithHandle.self)
    perform = unsafeBitCast(try address("curl_easy_perform"), to: Perform.self)
    appendLine = unsafeBitCast(try address("curl_slist_append"), to: AppendLine.self)
    releaseLines = unsafeBitCast(try address("curl_slist_free_all"), to: WithHandle.self)
    errorText = unsafeBitCast(try address("curl_easy_strerror"), to: ErrorText.self)
    setOption = try address("curl_easy_setopt")
    let everything = 3
    guard initialize(everything) == 0 else { throw Missing(reason: "curl_global_init failed") }
  }
}
