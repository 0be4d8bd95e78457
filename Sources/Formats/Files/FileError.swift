/// What the operating system refused.
public enum FileError: Error, CustomStringConvertible {
  case cannotOpen(file: String, reason: String)
  case cannotMap(file: String, reason: String)
  case isDirectory(file: String)
  case notRegular(file: String)
  case cannotWrite(file: String, reason: String)
  case writingFailed(file: String, reason: String)
  case alreadyExists(file: String)
  case notReplaceable(file: String, reason: String)

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
}
