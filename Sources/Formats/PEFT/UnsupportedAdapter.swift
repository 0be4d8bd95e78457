/// What an adapter's configuration states and the program cannot honour, or cannot read.
public struct UnsupportedAdapter: Error, CustomStringConvertible {
  public let file: String
  public let reason: String

  public init(file: String, reason: String) {
    self.file = file
    self.reason = reason
  }

  public var description: String { "\(file): \(reason)" }
}
