import Formats
import FoundationEssentials
import Glibc

/// Output for people, and for the programs that read standard output.
enum Console {
  private nonisolated(unsafe) static var hasOpenLine = false
  private nonisolated(unsafe) static var lastDrawing = 0.0
  /// Why standard output took not all.
  private nonisolated(unsafe) static var failure: FileError.Reason?
  /// Whether standard error is a terminal, where a bar can be drawn.
  static let isTerminal = isatty(2) == 1

  static func print(_ text: String) {
    finishLine()
    write(text + "\n", to: 1)
  }

  /// Text as it comes, for streams.
  static func printPart(_ text: String) { write(text, to: 1) }

  static func error(_ text: String) {
    finishLine()
    write(text + "\n", to: 2)
  }

  private static func write(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      if count <= 0 {
        // Who reads no more, such as `head`, has what it wanted.
        if descriptor == 1, errno != EPIPE { failure = failure ?? .system }
        return
      }
      bytes = bytes.dropFirst(count)
    }
  }

  /// - Throws: `FileError` where something that was printed is lost
  static func checkOutput() throws {
    guard let failure else { return }
    throw FileError.writingFailed(file: "standard output", reason: failure)
  }

  /// Draws a bar over the last one, at most ten times a second. What a narrow terminal cuts off is the end of `text`.
  static func progress(done: Int, of all: Int, _ text: String) {
    guard isTerminal else { return }
    let now = Console.uptime
    guard done == all || now - lastDrawing > 0.1 else { return }
    lastDrawing = now
    let width = columns < 100 ? 12 : 24
    let filled = all > 0 ? width * done / all : width
    let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
    let line = "[\(bar)] \(done)/\(all) \(text)"
    write("\r\u{1B}[K\(line.prefix(max(20, columns - 1)))", to: 2)
    hasOpenLine = true
  }

  /// Characters of a line of the terminal: a longer bar would not be drawn over.
  private static var columns: Int {
    var size = winsize()
    return ioctl(2, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
  }

  /// Seconds since the machine started.
  static var uptime: Double {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9
  }

  static func finishLine() {
    if hasOpenLine { write("\n", to: 2) }
    hasOpenLine = false
  }

  /// The time of day and the date, for logs.
  static var timeStamp: String {
    var now = time(nil)
    var parts = tm()
    localtime_r(&now, &parts)
    func two(_ value: Int32) -> String { (value < 10 ? "0" : "") + "\(value)" }
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
  }

  /// Hours, minutes and seconds with colons.
  static func clock(_ seconds: Double) -> String {
    let whole = Int(min(max(seconds, 0), 1e9).rounded())
    func two(_ value: Int) -> String { (value < 10 ? "0" : "") + "\(value)" }
    let hours = whole / 3600
    return hours > 0
      ? "\(hours):\(two(whole % 3600 / 60)):\(two(whole % 60))" : "\(whole / 60):\(two(whole % 60))"
  }

  /// Hours, minutes and seconds, as far as they matter.
  static func duration(_ seconds: Double) -> String {
    let whole = Int(min(seconds, 1e9).rounded())
    if whole >= 3600 { return "\(whole / 3600) h \(whole % 3600 / 60) min" }
    return whole >= 60 ? "\(whole / 60) min \(whole % 60) s" : "\(whole) s"
  }

  /// A number with so many decimals, whatever the locale.
  static func decimal(_ value: Double, _ places: Int) -> String {
    withVaList([value]) { arguments in
      var text = [CChar](repeating: 0, count: 400)
      vsnprintf(&text, text.count, "%.\(places)f", arguments)
      return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }
}
