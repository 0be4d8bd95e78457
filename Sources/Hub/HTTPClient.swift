import CCurl
import Glibc

/// What came with an answer besides its body.
struct ResponseHead {
  /// 0 before anything came.
  var status = 0
  /// Of the last hop; names in small letters.
  var fields: [String: String] = [:]
  /// Whether no byte of its body was taken yet.
  var isNewAnswer = true
  /// Of any hop: what the hub says of a file before it sends the request elsewhere.
  var linkedETag: String?

  /// Takes a line of the head, without its end.
  mutating func take(_ line: String) {
    if line.hasPrefix("HTTP/") {
      let words = line.split(separator: " ")
      status = words.count > 1 ? Int(words[1]) ?? 0 : 0
      fields = [:]
      isNewAnswer = true
      return
    }
    guard let colon = line.firstIndex(of: ":") else { return }
    let name = line[..<colon].lowercased()
    let value = String(line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" })
    if fields.count < 200 { fields[name] = value }
    if name == "x-linked-etag" { linkedETag = value.filter { $0 != "\"" } }
  }

  /// The first byte of a part, as in `bytes 100-199/200`.
  var rangeStart: Int? {
    guard let range = fields["content-range"], range.hasPrefix("bytes ") else { return nil }
    return Int(range.dropFirst(6).prefix { $0 != "-" })
  }

  /// Seconds that a busy server asks to wait.
  var retryAfter: Double? { fields["retry-after"].flatMap { Double($0) } }

  /// The address of the next page of a list.
  var nextPage: String? {
    for link in (fields["link"] ?? "").split(separator: ",") where link.contains("rel=\"next\"") {
      if let start = link.firstIndex(of: "<"), let end = link.firstIndex(of: ">"), start < end {
        return String(link[link.index(after: start)..<end])
      }
    }
    return nil
  }
}

/// Where a body goes to.
protocol BodyTarget: AnyObject {
  /// Takes bytes of a body whose head said success.
  /// - Returns: whether to go on
  func take(_ bytes: UnsafeRawBufferPointer, head: ResponseHead) -> Bool
}

/// Requests by libcurl, one after the other over connections that stay open.
final class HTTPClient {
  /// How a request ended.
  enum Outcome {
    /// With a head, whatever its status; `message` is the start of a body that tells of a failure.
    case answered(ResponseHead, message: String)
    /// Without, or in the middle.
    case failed(reason: String)
    case stopped
  }

  private let curl: CurlLibrary
  private let handle: UnsafeMutableRawPointer
  private let userAgent: String
  private let shouldStop: () -> Bool

  init(userAgent: String, shouldStop: @escaping () -> Bool) throws {
    curl = try CurlLibrary.shared.get()
    guard let handle = curl.makeHandle() else { throw CurlLibrary.Missing(reason: "curl_easy_init failed") }
    self.handle = handle
    self.userAgent = userAgent
    self.shouldStop = shouldStop
  }

  deinit { curl.release(handle) }

  /// What the callbacks of one request share.
  private final class Transfer {
    var head = ResponseHead()
    var message: [UInt8] = []
    var isStopped = false
    let target: any BodyTarget
    let shouldStop: () -> Bool

    init(_ target: any BodyTarget, _ shouldStop: @escaping () -> Bool) {
      self.target = target
      self.shouldStop = shouldStop
    }

    static func of(_ context: UnsafeMutableRawPointer?) -> Transfer? {
      context.map { Unmanaged<Transfer>.fromOpaque($0).takeUnretainedValue() }
    }

    func takeLine(_ bytes: UnsafeRawBufferPointer) {
      var line = String(decoding: bytes, as: UTF8.self)
      while let last = line.last, last.isNewline { line.removeLast() }
      head.take(line)
    }

    func takeBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
      if shouldStop() { isStopped = true }
      guard !isStopped else { return false }
      guard head.status == 200 || head.status == 206 else {
        message.append(contentsOf: bytes.prefix(max(0, 4096 - message.count)))
        return true
      }
      defer { head.isNewAnswer = false }
      return target.take(bytes, head: head)
    }
  }

  /// Asks for `url` and hands the body to `target`.
  ///
  /// Redirections are followed. The token goes to the host of `url` alone.
  /// - Parameters:
  ///   - token: for the header `Authorization`
  ///   - offset: first byte that is wanted
  func get(_ url: String, token: String?, from offset: Int = 0, into target: any BodyTarget) -> Outcome {
    curl.reset(handle)
    let transfer = Transfer(target, shouldStop)
    let context = Unmanaged.passUnretained(transfer).toOpaque()
    var lines: UnsafeMutableRawPointer?
    if let token { lines = curl.appendLine(nil, "Authorization: Bearer \(token)") }
    defer { if let lines { curl.releaseLines(lines) } }
    let errorBuffer = UnsafeMutablePointer<CChar>.allocate(capacity: 256)
    errorBuffer.initialize(repeating: 0, count: 256)
    defer { errorBuffer.deallocate() }

    set(curl_option_url, url)
    set(curl_option_user_agent, userAgent)
    // Whoever asks in secret is not led to where everybody listens.
    let protocols = url.hasPrefix("https:") ? "https" : "http,https"
    set(curl_option_protocols, protocols)
    set(curl_option_redirect_protocols, protocols)
    if offset > 0 { set(curl_option_range, "\(offset)-") }
    set(curl_option_headers, pointer: lines)
    set(curl_option_error_buffer, pointer: errorBuffer)
    set(curl_option_follow_location, 1)
    set(curl_option_most_redirects, 8)
    set(curl_option_connect_timeout, 30)
    // A line that carries nothing for a minute is given up, and tried again.
    set(curl_option_low_speed_limit, 1)
    set(curl_option_low_speed_time, 60)
    set(curl_option_no_signal, 1)
    set(curl_option_no_progress, 0)
    for option in [curl_option_write_data, curl_option_header_data, curl_option_progress_data] {
      set(option, pointer: context)
    }
    _ = curl_set_data_function(curl.setOption, handle, Int32(curl_option_write_function)) {
      bytes, size, count, context in
      let buffer = UnsafeRawBufferPointer(start: bytes, count: size * count)
      return Transfer.of(context)?.takeBody(buffer) == true ? size * count : 0
    }
    _ = curl_set_data_function(curl.setOption, handle, Int32(curl_option_header_function)) {
      bytes, size, count, context in
      Transfer.of(context)?.takeLine(UnsafeRawBufferPointer(start: bytes, count: size * count))
      return size * count
    }
    _ = curl_set_progress_function(
      curl.setOption, handle, Int32(curl_option_progress_function)
    ) { context, _, _, _, _ in
      guard let transfer = Transfer.of(context) else { return 1 }
      if transfer.shouldStop() { transfer.isStopped = true }
      return transfer.isStopped ? 1 : 0
    }
    let code = withExtendedLifetime(transfer) { curl.perform(handle) }
    if transfer.isStopped { return .stopped }
    if code == 0, transfer.head.status > 0 {
      return .answered(transfer.head, message: String(decoding: transfer.message, as: UTF8.self))
    }
    let detail = String(cString: errorBuffer)
    return .failed(reason: detail.isEmpty ? curl.errorText(code).map { String(cString: $0) } ?? "\(code)" : detail)
  }

  private func set(_ option: Int, _ text: String) {
    // libcurl copies texts.
    _ = text.withCString { curl_set_pointer(curl.setOption, handle, Int32(option), $0) }
  }
  private func set(_ option: Int, pointer: UnsafeMutableRawPointer?) {
    _ = curl_set_pointer(curl.setOption, handle, Int32(option), pointer)
  }
  private func set(_ option: Int, _ number: Int) {
    _ = curl_set_long(curl.setOption, handle, Int32(option), number)
  }
}
