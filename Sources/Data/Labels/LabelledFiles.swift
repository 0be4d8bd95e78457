import Formats
import Glibc

/// Files of labelled rows that are gone through as often as wanted, a row at a time: once to see what the labels are, once to
/// make samples.
public final class LabelledFiles {
  /// Of every file what the user calls it, and a copy where it can be read only once.
  private let files: [(name: String, copy: OutputFile?)]
  private let columns: LabelledColumns
  let skipsBadRows: Bool
  private let byteCount: Int
  /// Gets bytes that are read, and all that are known of, now and then.
  public var progress: ((_ done: Int, _ all: Int) -> Void)?

  /// - Parameters:
  ///   - files: paths, or `-` for JSON lines from standard input
  ///   - directory: for a copy of what comes from a pipe
  public init(
    _ files: [String], columns: LabelledColumns, skipBadLines: Bool = false,
    directory: String = TrainingData.temporary
  ) throws {
    self.files = try files.map { ($0, Self.isRegular($0) ? nil : try Self.copy(of: $0, in: directory)) }
    self.columns = columns
    skipsBadRows = skipBadLines
    byteCount = self.files.reduce(0) { $0 + ($1.copy?.byteCount ?? FNV1a.byteCount(of: $1.name)) }
  }

  var names: [String] { files.map(\.name) }

  /// Whether a file can be opened again; what is not there is told when it is read.
  private static func isRegular(_ file: String) -> Bool {
    var status = stat()
    guard file != "-", stat(file, &status) == 0 else { return file != "-" }
    return [S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT)
  }

  private static func copy(of file: String, in directory: String) throws -> OutputFile {
    guard let input = file == "-" ? fdopen(dup(0), "r") : fopen(file, "r") else {
      throw FileError.cannotOpen(file: file, reason: .system)
    }
    defer { fclose(input) }
    let copy = try OutputFile(unnamedIn: directory)
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = fread(&buffer, 1, buffer.count, input)
      if count == 0 { break }
      try buffer[..<count].withUnsafeBytes { try copy.append($0) }
    }
    guard ferror(input) == 0 else { throw FileError.cannotOpen(file: file, reason: "reading it failed") }
    return copy
  }

  /// Calls `body` with each row.
  ///
  /// - Returns: rows that could not be read and were skipped
  /// - Throws: `DataError` for the first of those where they are not to be skipped, and what `body` throws
  public func forEachRow(_ body: (LabelledRow) throws -> Void) throws -> Int {
    var skipped = 0
    var done = 0
    var told = 0
    for (name, copy) in files {
      let reader = try LabelledRows(name, at: try copy?.readablePath() ?? name, columns: columns)
      while true {
        var row: LabelledRow?
        do {
          row = try reader.nextRow()
          if row == nil { break }
        } catch let error as DataError {
          guard skipsBadRows else { throw error }
          skipped += 1
        }
        if let row { try body(row) }
        if done + reader.byteCount - told > 1 << 20 {
          told = done + reader.byteCount
          progress?(min(told, byteCount), byteCount)
        }
      }
      done += reader.byteCount
    }
    return skipped
  }

  /// What the labels of all rows are.
  /// - Throws: `DataError` where there is no row
  public func survey() throws -> LabelSurvey {
    var survey = LabelSurvey(skipsUnlabelled: skipsBadRows)
    let skipped = try forEachRow { survey.add($0) }
    guard survey.rowCount > 0 else { throw DataError.empty(files: names, skippedLines: skipped) }
    return survey
  }
}
