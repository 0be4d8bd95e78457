import Glibc

/// Lines that are typed at a terminal, with editing and a history where libedit is installed; it is loaded when it is needed.
final class LineReader {
  private typealias ReadLine = @convention(c) (UnsafePointer<CChar>?) -> UnsafeMutablePointer<CChar>?
  private typealias OnText = @convention(c) (UnsafePointer<CChar>?) -> Int32

  private let readLine: ReadLine?
  private let addHistory: OnText?
  private let writeHistory: OnText?
  private let historyFile: String?

  /// - Parameter historyFile: where lines are kept for the next time
  init(historyFile: String?) {
    self.historyFile = historyFile
    let isTerminal = isatty(0) == 1 && isatty(1) == 1
    let library = isTerminal ? dlopen("libedit.so.2", RTLD_NOW) : nil
    func find<T>(_ name: String, _ type: T.Type) -> T? {
      library.flatMap { dlsym($0, name) }.map { unsafeBitCast($0, to: type) }
    }
    readLine = find("readline", ReadLine.self)
    addHistory = find("add_history", OnText.self)
    writeHistory = find("write_history", OnText.self)
    if let historyFile, let readHistory = find("read_history", OnText.self) { _ = readHistory(historyFile) }
  }

  /// The next line; `nil` at the end.
  func next(_ prompt: String) -> String? {
    guard let readLine else {
      if isatty(0) == 1 { Console.printPart(prompt) }
      return Swift.readLine()
    }
    guard let line = readLine(prompt) else { return nil }
    defer { free(line) }
    let text = String(cString: line)
    if !text.allSatisfy(\.isWhitespace) {
      _ = addHistory?(line)
      if let historyFile { _ = writeHistory?(historyFile) }
    }
    return text
  }
}
