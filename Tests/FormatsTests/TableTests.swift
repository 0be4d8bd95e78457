import Formats
import Foundation
import Testing

@Suite struct DelimitedReaderTests {
  private func read(_ text: String, _ format: DelimitedFormat = .csv) throws -> (header: [String]?, rows: [[String]]) {
    try read(bytes: Array(text.utf8), format)
  }

  private func read(bytes: [UInt8], _ format: DelimitedFormat = .csv) throws -> (header: [String]?, rows: [[String]]) {
    try withTemporaryFolder { folder in
      try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/t.csv"))
      let reader = try DelimitedReader(path: "\(folder)/t.csv", format: format)
      var rows: [[String]] = []
      while let row = try reader.next() { rows.append(row.fields) }
      return (reader.header, rows)
    }
  }

  private func refusal(_ bytes: [UInt8], _ format: DelimitedFormat = .csv) -> String {
    let text = message { _ = try read(bytes: bytes, format) }
    return text.range(of: "t.csv:").map { String(text[$0.lowerBound...]) } ?? text
  }

  @Test func fieldsMayHoldSeparatorsQuotesAndLineEnds() throws {
    let found = try read("a,b\r\n\"x, \"\"y\"\"\r\nz\",2\r\n,\"\"\r\n")
    #expect(found.header == ["a", "b"])
    #expect(found.rows == [["x, \"y\"\r\nz", "2"], ["", ""]])
  }

  @Test func everyLineEndAndTheByteOrderMarkAreUnderstood() throws {
    for end in ["\n", "\r\n", "\r"] {
      let found = try read("\u{FEFF}a,b\(end)1,2\(end)\(end)3,4")
      #expect(found.header == ["a", "b"] && found.rows == [["1", "2"], ["3", "4"]])
    }
  }

  @Test func columnsMayLackNames() throws {
    let found = try read("a,b,,\n1,2,,\n")
    #expect(found.header == ["a", "b", "", ""] && found.rows == [["1", "2", "", ""]])
  }

  @Test func readingGoesOnBehindARowThatCannotBeUsed() throws {
    try withTemporaryFolder { folder in
      let text = "a,b\n1\n2,3\n\"x\"y,4\r\n5,6\n7,\u{0}\n8,9,10\n\n11,12\n13,\"open\n"
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/t.csv"))
      let reader = try DelimitedReader(path: "\(folder)/t.csv", format: .csv)
      var (rows, bad): ([[String]], [Int]) = ([], [])
      while true {
        do {
          guard let row = try reader.next() else { break }
          rows.append(row.fields)
        } catch let error as TableError {
          bad.append(error.line)
        }
      }
      #expect(rows == [["2", "3"], ["5", "6"], ["11", "12"]])
      #expect(bad == [2, 4, 6, 7, 10])
    }
  }

  @Test func tabsAndFilesWithoutHeaderAreRead() throws {
    var format = DelimitedFormat.tsv
    format.hasHeader = false
    let found = try read("a \"b\"\t,\n\"q\"\tü\n", format)
    #expect(found.header == nil && found.rows == [["a \"b\"", ","], ["q", "ü"]])
    format.allowsQuotes = false
    #expect(try read("\"q\t\"\n", format).rows == [["\"q", "\""]])
    #expect(try read("").rows.isEmpty)
    #expect(try read("a,b").header == ["a", "b"])
  }

  @Test func quotesBetweenTabsAreTextUnlessTheyCloseAtTheEndOfAField() throws {
    let loose = try read("a\tb\n\"no, he said\tneg\n\"so\" it is\tpos\n\"\ty\nx\t\"never closed\nz\tz\n", .tsv)
    #expect(
      loose.rows == [
        ["\"no, he said", "neg"], ["\"so\" it is", "pos"], ["\"", "y"], ["x", "\"never closed"], ["z", "z"],
      ])
    let closed = try read("a\tb\n\"two\nlines\"\t\"x \"\"y\"\"\"\n\"tab\there\"\tz", .tsv)
    #expect(closed.rows == [["two\nlines", "x \"y\""], ["tab\there", "z"]])
  }

  @Test func mistakesAreRefusedWithTheirLine() {
    func utf8(_ text: String) -> [UInt8] { Array(text.utf8) }
    #expect(refusal(utf8("a,b\n1,2\n1,2,3\n")) == "t.csv:3: 3 fields, but the header has 2")
    #expect(refusal(utf8("a,b\n\"x\n\",2\n1\n")) == "t.csv:4: 1 fields, but the header has 2")
    #expect(refusal(utf8("a\n\"x\ny")) == "t.csv:2: a quote that is never closed")
    #expect(refusal(utf8("a\n\"x\"y\n")).hasPrefix("t.csv:2: text after a closing quote"))
    #expect(refusal(utf8("a,a\n")) == "t.csv:1: two columns are named \"a\"")
    #expect(refusal([0x61, 0x0A, 0xFF, 0x0A]) == "t.csv:2: the text is not UTF-8")
    #expect(refusal([0x61, 0x62, 0x0A, 0x61, 0, 0x0A]) == "t.csv:2: a zero byte, which no text has")
    #expect(refusal([0xFF, 0xFE, 0x61, 0]).hasPrefix("t.csv:1: the text is UTF-16, expected UTF-8"))
    #expect(refusal([0x61, 0, 0x62, 0]).hasPrefix("t.csv:1: the text is UTF-16 without a mark"))
    #expect(refusal([0xFF, 0xFE, 0, 0]).hasPrefix("t.csv:1: the text is UTF-32"))
    #expect(
      refusal(utf8("a\n") + [UInt8](repeating: 0x61, count: (1 << 24) + 1)).hasPrefix("t.csv:2: a row of more than"))
    #expect(refusal([UInt8](repeating: 0x2C, count: 1 << 17)).hasPrefix("t.csv:1: a row of more than 65536 fields"))
  }

  @Test func rowsLongerThanTheBufferAndPipesAreRead() throws {
    let long = String(repeating: "ä", count: 100_000)
    let pipe = Pipe()
    let writer = Thread {
      pipe.fileHandleForWriting.write(Data("x\n\(long)\n\"\(long)\"\n".utf8))
      try? pipe.fileHandleForWriting.close()
    }
    writer.start()
    let reader = try DelimitedReader(
      descriptor: pipe.fileHandleForReading.fileDescriptor, name: "standard input", format: .csv)
    #expect(try reader.next()?.fields == [long])
    #expect(try reader.next()?.line == 3)
    #expect(try reader.next() == nil)
  }
}

@Suite struct CoNLLReaderTests {
  private func read(_ text: String, skipsComments: Bool = false) throws -> [CoNLLReader.Sentence] {
    try withTemporaryFolder { folder in
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/t.conll"))
      let reader = try CoNLLReader(path: "\(folder)/t.conll", skipsComments: skipsComments)
      var found: [CoNLLReader.Sentence] = []
      while let sentence = try reader.next() { found.append(sentence) }
      return found
    }
  }

  @Test func sentencesAreSetApartByEmptyLinesAndDocuments() throws {
    let found = try read("-DOCSTART- -X- O O\n\nEU NNP B-ORG\nrejects  VBZ O\r\n \n\n. . O\n-DOCSTART- O\n# NN O")
    #expect(found.map(\.line) == [3, 7, 9])
    #expect(found.map { $0.rows.map { $0[0] } } == [["EU", "rejects"], ["."], ["#"]])
    #expect(found[0].rows[1] == ["rejects", "VBZ", "O"])
  }

  @Test func tabsKeepSpacesAndEmptyColumns() throws {
    let found = try read("-DOCSTART- O\n\nNew York\t\tB-LOC\nis\tx\tO\n")
    #expect(found.map(\.rows) == [[["New York", "", "B-LOC"], ["is", "x", "O"]]])
    #expect(try read("# text = a\na\tO\n", skipsComments: true).map(\.line) == [2])
    #expect(try read("\n\n").isEmpty)
    #expect(try read("a b\tO \n").map(\.rows) == [[["a b", "O"]]])
  }

  @Test func readingGoesOnBehindASentenceThatCannotBeUsed() throws {
    try withTemporaryFolder { folder in
      let long = String(repeating: "a", count: 70_000)
      let text = "a O\n\nb X O\n\nc O\nd\ne O\r\n \r\nf O\n\n\(long)\ng O\n\nh O"
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/t.conll"))
      let reader = try CoNLLReader(path: "\(folder)/t.conll")
      var (words, bad): ([String], [Int]) = ([], [])
      while true {
        do {
          guard let sentence = try reader.next() else { break }
          words += sentence.rows.map { $0[0] }
        } catch let error as TableError {
          bad.append(error.line)
        }
      }
      #expect(words == ["a", "f", "h"])
      #expect(bad == [3, 6, 11])
    }
  }

  @Test func commentsBeforeASentenceAreNoWords() throws {
    let found = try read("# id 1 domain=en\nEU _ _ B-x\n# _ _ O\n\n# id 2 domain=en\nit _ _ O\n\n# _ _ O\n")
    #expect(found.map { $0.rows.map { $0[0] } } == [["EU", "#"], ["it"], ["#"]])
  }

  @Test func mistakesAreRefusedWithTheirLine() {
    #expect(message { _ = try read("a O\n\nb\n") }.hasSuffix("t.conll:3: 1 columns, but the first word has 2"))
    #expect(message { _ = try read("a \u{0} O\n") }.hasSuffix("t.conll:1: a zero byte, which no text has"))
    #expect(
      message { _ = try read(String(repeating: "a", count: 70_000)) }.contains("t.conll:1: a line of more than 65536"))
    #expect(
      message { _ = try read(String(repeating: "a\n", count: 70_000)) }.contains(
        "t.conll:65537: a sentence of more than 65536 words"))
    #expect(message { _ = try CoNLLReader(path: "/") }.contains("is a directory"))
  }
}
