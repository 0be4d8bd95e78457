import Formats

/// A request that is refused, as OpenAI's API says it.
package struct APIError: Error {
  package let status: Int
  package let message: String

  package init(status: Int = 400, _ message: String) {
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

  package var json: JSONValue {
    .object(
      JSONObject([
        (
          "error",
          .object(
            JSONObject([("message", .string(message)), ("type", .string(kind)), ("code", .integer(status))]))
        )
      ]))
  }
}
