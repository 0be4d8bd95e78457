/// Why nothing was fetched.
public enum HubError: Error, CustomStringConvertible {
  case notFound(repository: String, advice: String)
  case noAccess(repository: String, reason: String)
  case unusableList(repository: String, reason: String)
  case nothingToFetch(repository: String, reason: String)
  case unsafePath(repository: String, path: String)
  case wrongContent(file: String, found: String, expected: String)
  case noRoom(folder: String, needed: Int, free: Int)
  case transfer(what: String, reason: String)
  case stopped

  public var description: String {
    switch self {
    case .notFound(let repository, let advice): "\(repository): not found on the hub; \(advice)"
    case .noAccess(let repository, let reason): "\(repository): \(reason)"
    case .unusableList(let repository, let reason): "\(repository): the hub's answer cannot be used: \(reason)"
    case .nothingToFetch(let repository, let reason): "\(repository): \(reason)"
    case .unsafePath(let repository, let path):
      "\(repository): names a file \(path), which would lie outside of the output; it is not fetched"
    case .wrongContent(let file, let found, let expected):
      "\(file): \(found), expected \(expected)\n"
        + "       the file was damaged on its way or changed by a proxy; fetch again, it is dropped"
    case .noRoom(let folder, let needed, let free):
      "\(folder): \(megabytes(needed)) are to be fetched, but the disk has \(megabytes(free)) free"
    case .transfer(let what, let reason) where reason.contains("resolve host"):
      "\(what): \(reason)\n       is this machine on the network? https_proxy names a proxy, HF_ENDPOINT another hub"
    case .transfer(let what, let reason):
      "\(what): \(reason)\n       what has come is kept: the same command goes on from there"
    case .stopped: "stopped; what has come is kept: the same command goes on from there"
    }
  }
}

/// A size for people, in the millions of bytes that the hub's pages count in.
func megabytes(_ byteCount: Int) -> String {
  if byteCount < 1_000_000 { return "\((byteCount + 999) / 1000) kB" }
  if byteCount < 10_000_000_000 { return "\((byteCount + 500_000) / 1_000_000) MB" }
  return "\((byteCount + 500_000_000) / 1_000_000_000) GB"
}
