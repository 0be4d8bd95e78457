import CMicrohttpd
import FoundationEssentials
import Synchronization

/// A server that cannot be started.
public struct ServerError: Error, CustomStringConvertible {
  public let description: String
}

/// A request that has come whole.
struct HTTPRequest: Sendable {
  let method: String
  let path: String
  /// `Authorization`.
  let authorization: String?
  let body: [UInt8]
  /// Whether who asked has closed the connection; to be asked only while the request is answered.
  let isGone: @Sendable () -> Bool
}

/// What is answered.
enum HTTPResponse: Sendable {
  case whole(status: Int, contentType: String, body: [UInt8], header: (name: String, value: String)? = nil)
  /// Bytes as they come.
  case stream(contentType: String, any ByteSource)
}

/// Bytes that come by and by, read on the thread of a connection.
protocol ByteSource: AnyObject, Sendable {
  /// Waits for bytes; `nil` at the end.
  func next(atMost count: Int) -> [UInt8]?
  /// Nobody reads any more.
  func close()
}

/// HTTP by libmicrohttpd: each connection has a thread of its own.
public final class HTTPServer: @unchecked Sendable {
  // @unchecked: the server's own threads only read what is set once.

  private let answer: @Sendable (HTTPRequest) -> HTTPResponse
  private var server: OpaquePointer?
  /// The port that it listens on.
  public private(set) var port = 0

  struct Options: Sendable {
    var address = "127.0.0.1"
    var port = 0
    var connections = 100
    var timeoutSeconds = 600
    var bodyBytes = 4 << 20
  }

  init(_ options: Options, answer: @escaping @Sendable (HTTPRequest) -> HTTPResponse) throws {
    self.answer = answer
    var reason = [CChar](repeating: 0, count: 256)
    server = options.address.withCString { address in
      var settings = http_options(
        address: address, port: UInt16(options.port), connections: UInt32(options.connections),
        timeout_seconds: UInt32(options.timeoutSeconds), body_bytes: options.bodyBytes,
        answer: { context, request in
          guard let context, let request else { return }
          Unmanaged<HTTPServer>.fromOpaque(context).takeUnretainedValue().handle(request)
        }, context: Unmanaged.passUnretained(self).toOpaque())
      return http_start(&settings, &reason, reason.count)
    }
    guard let server else {
      throw ServerError(
        description: String(decoding: reason.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
    port = Int(http_port(server))
  }

  /// Takes no more connections and waits for those that are open.
  func stop() {
    if let server { http_stop(server) }
    server = nil
  }

  private func handle(_ request: OpaquePointer) {
    if http_is_too_long(request) != 0 {
      return reply(APIError(status: 413, "the request is too long").response, to: request)
    }
    let body = UnsafeRawBufferPointer(start: http_body(request), count: http_body_size(request))
    let address = Int(bitPattern: request)
    let response = answer(
      HTTPRequest(
        method: String(cString: http_method(request)), path: String(cString: http_path(request)),
        authorization: http_header(request, "Authorization").map { String(cString: $0) }, body: Array(body),
        isGone: { OpaquePointer(bitPattern: address).map { http_is_gone($0) != 0 } ?? false }))
    reply(response, to: request)
  }

  private func reply(_ response: HTTPResponse, to request: OpaquePointer) {
    switch response {
    case .whole(let status, let type, let body, let header):
      body.withUnsafeBytes {
        http_reply(request, UInt32(status), type, $0.baseAddress, $0.count, header?.name, header?.value)
      }
    case .stream(let type, let source):
      http_stream(
        request, 200, type,
        { context, target, size in
          guard let context, let target else { return -1 }
          let box = Unmanaged<SourceBox>.fromOpaque(context).takeUnretainedValue()
          guard let bytes = box.source.next(atMost: size) else { return -1 }
          bytes.withUnsafeBytes {
            UnsafeMutableRawPointer(target).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
          }
          return bytes.count
        },
        { context in
          guard let context else { return }
          Unmanaged<SourceBox>.fromOpaque(context).takeRetainedValue().source.close()
        }, Unmanaged.passRetained(SourceBox(source)).toOpaque())
    }
  }

  private final class SourceBox {
    let source: any ByteSource
    init(_ source: any ByteSource) { self.source = source }
  }
}

extension APIError {
  var response: HTTPResponse {
    .whole(
      status: status, contentType: "application/json", body: Array(json.serialized().utf8),
      header: status == 429 ? ("Retry-After", "1") : status == 401 ? ("WWW-Authenticate", "Bearer") : nil)
  }
}
