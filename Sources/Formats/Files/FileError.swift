#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the operating system refused.
public enum FileError: Error, CustomStringConvertible {
  case cannotOpen(file: String, reason: Reason)
  case cannotMap(file: String, reason: Reason)
  case isDirectory(file: String)
  case notRegular(file: String)
  case cannotWrite(file: String, reason: Reason)
  case writingFailed(file: String, reason: Reason)
  case alreadyExists(file: String)
  case notReplaceable(file: String, reason: Reason)

  public var description: String {
    switch self {
    case .cannotOpen(let file, let reason): "\(file): cannot open: \(reason)"
    case .cannotMap(let file, let reason): "\(file): cannot map into memory: \(reason)"
    case .isDirectory(let file): "\(file): is a directory, expected a file"
    case .notRegular(let file): "\(file): is a pipe or a device, expected a file"
    case .cannotWrite(let file, let reason): "\(file): cannot write: \(reason)"
    case .writingFailed(let file, let reason): "\(file): writing stopped: \(reason)"
    case .alreadyExists(let file): "\(file): exists already; name another output or give --force to replace it"
    case .notReplaceable(let file, let reason): "\(file): is not replaced: \(reason); name another output"
    }
  }

  /// Why: what the system said of its last call, or what was found.
  public struct Reason: Sendable, Equatable, CustomStringConvertible, ExpressibleByStringInterpolation {
    /// The system's number for it, as `ENOSPC`; `nil` where the system has refused nothing.
    public let code: Int32?
    public let description: String

    public init(stringLiteral text: String) {
      code = nil
      description = text
    }

    private init(code: Int32, doing: String?) {
      self.code = code
      var said = String(cString: strerror(code))
      if code == EFBIG { said += "; `ulimit -f`, or the file system, as FAT does, ends files there" }
      description = doing.map { "\($0): \(said)" } ?? said
    }

    /// What the last call that failed said.
    public static var system: Self { Self(code: errno, doing: nil) }

    /// - Parameter doing: what the call was for
    public static func system(_ doing: String) -> Self { Self(code: errno, doing: doing) }
  }
}
