import FoundationEssentials

/// A path that does not depend on the folder where the program was started.
public enum AbsolutePath {
  public static func of(_ path: String) -> String {
    path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
  }
}
