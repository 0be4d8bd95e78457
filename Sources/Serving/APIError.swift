import Formats

/// A request that is refused, as OpenAI's API says it.
struct APIError: Error {
  let status: Int
  let message: String

  init(status: Int = 400, _ message: String) {
    self.status = status
    self.message = message
  }

  private var kind: String {
    switch status {
    case 401: "authentication_error"
    case 404: "not_found_error"
    case 429, 500..<600: "server_error"
    default: "invalid_request_error"
    }
  }

  var json: JSONValue {
    .object(
      JSONObject([
        (
          "error",
          .object(
            JSONObject([("message", .string(message)), ("type", .string(kind)), ("code", .integer(status))]))
        )
      ]))
  }

  var response: HTTPResponse {
    .whole(
      status: status, contentType: "application/json", body: Array(json.serialized().utf8),
      header: status == 429 ? ("Retry-After", "1") : status == 401 ? ("WWW-Authenticate", "Bearer") : nil)
  }
}
