import Architectures
import Data
import Formats
import Foundation
import Testing
import Tokenization

/// A folder that goes with its test.
private final class Scratch {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("labelled-\(UUID().uuidString)")
  deinit { try? FileManager.default.removeItem(at: folder) }
}

struct LabelledDataTests {
  private let scratch = Scratch()

  private func write(_ text: String, _ name: String) throws -> String {
    let folder = scratch.folder.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let path = folder.appendingPathComponent(name).path
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    return path
  }

  private func rows(_ text: String, _ name: String, _ columns: LabelledColumns = LabelledColumns()) throws
    -> [LabelledRow]
  {
    let reader = try LabelledRows(try write(text, name), columns: columns)
    var rows: [LabelledRow] = []
    while let row = try reader.nextRow() { rows.append(row) }
    return rows
  }

  private func message(_ body: () throws -> Void) -> String {
    do {
      try body()
      return "nothing"
    } catch { return "\(error)" }
  }

  @Test func labelsOfATableAreFound() throws {
    let found = try rows("good film\t1\nbad film\t0\n", "a.tsv", LabelledColumns(names: ["text", "label"]))
    #expect(found.map(\.label) == [.number(1), .number(0)])
    #expect(found.map(\.line) == [1, 2])
    let labelling = try LabellingFinder().labelling(of: found)
    #expect(labelling == Labelling(task: .sequenceClassification, labels: ["LABEL_0", "LABEL_1"]))
  }

  @Test func aColumnThatIsNamedAndMissingIsTold() {
    let text = message {
      _ = try rows("text,label\na,b\n", "a.csv", LabelledColumns(names: nil, label: "kind"))
    }
    #expect(text.contains("no column kind among text, label"), "\(text)")
  }

  @Test func aQuestionBesideASentenceIsTheFirstOfTwoTexts() throws {
    let found =
      try rows(#"{"question": "q", "sentence": "s", "label": 1}"#, "a.jsonl")
      + rows("sentence,question,label\ns,q,1\n", "a.csv")
    for row in found {
      guard case .text("q", pair: "s") = row.content else {
        Issue.record("\(row.content)")
        continue
      }
    }
    let named = try rows("sentence,question,label\ns,q,1\n", "a.csv", LabelledColumns(text: "sentence"))
    guard case .text("s", pair: nil) = named[0].content else {
      Issue.record("\(named[0].content)")
      return
    }
  }

  @Test func aSecondTextThatIsNamedAndMissingIsTold() {
    let columns = LabelledColumns(pair: "second")
    for (text, name) in [("text,label\na,b\n", "a.csv"), (#"{"text": "a", "label": "b"}"#, "a.jsonl")] {
      let told = message { _ = try rows(text, name, columns) }
      #expect(told.contains("no column second among text, label"), "\(told)")
    }
    let number = message { _ = try rows(#"{"text": "a", "second": 1, "label": "b"}"#, "a.jsonl", columns) }
    #expect(number.contains("second is not a text"), "\(number)")
  }

  @Test func badRowsOfTablesAreSkippedAndCounted() throws {
    for (text, name) in [("text,label\na,x\nb,y,z\nc,y\n", "a.csv"), ("a O\n\nb X O\n\nc B\n", "a.conll")] {
      let path = try write(text, name)
      let told = message { _ = try LabelledFiles([path], columns: LabelledColumns()).survey() }
      #expect(told.contains("\(name):3: 3 "), "\(told)")
      let files = try LabelledFiles([path], columns: LabelledColumns(), skipBadLines: true)
      var count = 0
      let skipped = try files.forEachRow { _ in count += 1 }
      #expect(skipped == 1 && count == 2)
    }
  }

  @Test func wordsBecomeLabelsInOrder() throws {
    let found = try rows(
      #"{"text": "a", "label": "light"}"# + "\n\n" + #"{"text": "b", "label": "heat"}"# + "\n", "a.jsonl")
    #expect(try LabellingFinder().labelling(of: found).labels == ["heat", "light"])
    #expect(found[1].line == 3)
  }

  @Test func listsMeanSeveralLabelsAndFractionsNumbers() throws {
    let several = try rows(#"{"text": "a", "label": ["x", "y"]}"# + "\n" + #"{"text": "b", "label": []}"#, "a.jsonl")
    #expect(try LabellingFinder().labelling(of: several).problem == .multiLabel)
    let numbers = try rows("text,label\na,0.5\nb,1\n", "a.csv")
    #expect(
      try LabellingFinder().labelling(of: numbers)
        == Labelling(task: .sequenceClassification, problem: .regression, labels: ["LABEL_0"]))
  }

  @Test func listsInFieldsOfATableAreLists() throws {
    let words = try rows(
      "text,labels\na,\"['it\\'s', \"\"b, c\"\"]\"\nb,[]\nc,\"[\"\"d\"\"]\"\nd,[e]\n", "a.csv")
    #expect(
      words.map(\.label) == [
        .list([.word("it's"), .word("b, c")]), .list([]), .list([.word("d")]), .word("[e]"),
      ])
    let numbers = try rows("text,labels\na,[1 0 1]\nb,\"[0, 0, 1]\"\n", "a.csv")
    let labelling = try LabellingFinder().labelling(of: numbers)
    #expect(labelling.problem == .multiLabel && labelling.labels.count == 3)
    let tagged = try rows("tokens,ner_tags\n\"['New', 'York']\",\"['B-LOC', 'I-LOC']\"\n", "a.csv")
    #expect(tagged.first?.label == .list([.word("B-LOC"), .word("I-LOC")]))
    #expect(try LabellingFinder().labelling(of: tagged).task == .tokenClassification)
  }

  @Test func whatOnlyLooksLikeANumberIsAWord() throws {
    let found = try rows("text,label\na,nan\nb,inf\nc,0x10\nd,1e999\ne,-1.5e2\n", "a.csv")
    #expect(found.map(\.label) == [.word("nan"), .word("inf"), .word("0x10"), .word("1e999"), .number(-150)])
  }

  /// What `tokenizers` 0.23 keeps of pairs with `longest_first`.
  @Test(arguments: [
    (4, 3, 1, [1, 0]), (3, 2, 3, [2, 1]), (2, 3, 3, [1, 2]), (3, 3, 3, [1, 2]), (9, 2, 6, [4, 2]), (2, 9, 6, [2, 4]),
    (9, 0, 5, [5, 0]), (0, 9, 5, [0, 5]), (8, 7, 10, [5, 5]),
  ])
  func ofAPairTheLongerTextIsCut(first: Int, second: Int, room: Int, kept: [Int]) {
    #expect(LabelledSamples.kept(of: (first, second), in: room) == kept)
  }

  @Test func severalColumnsAreLabelsOfTheirNames() throws {
    let columns = LabelledColumns(label: "toxic,threat")
    let table = try rows("text,toxic,other,threat\na,0,5,1\nb,True,5,false\n", "a.csv", columns)
    #expect(table.map(\.label) == [.list([.word("threat")]), .list([.word("toxic")])])
    let lines = try rows(#"{"text": "a", "toxic": 1, "threat": false}"#, "a.jsonl", columns)
    #expect(lines.first?.label == .list([.word("toxic")]))
    let labelling = try LabellingFinder(names: columns.labelNames).labelling(of: table)
    #expect(labelling.problem == .multiLabel && labelling.labels == ["toxic", "threat"])
    let unknown = message { _ = try rows("text,toxic,threat\na,-1,0\n", "a.csv", columns) }
    #expect(unknown.contains("column toxic is -1, expected 0 or 1"), "\(unknown)")
    let missing = message { _ = try rows("text,toxic\na,1\n", "a.csv", columns) }
    #expect(missing.contains("no column threat among"), "\(missing)")
  }

  @Test func sentencesOfWordsHaveTags() throws {
    let found = try rows("Anna B-PER\nsings O\n\nIn O\nBern B-LOC\n", "a.conll")
    let labelling = try LabellingFinder().labelling(of: found)
    #expect(labelling == Labelling(task: .tokenClassification, labels: ["O", "B-LOC", "B-PER"]))
    #expect(LabelledRows.areLabelled(try write("Anna B-PER\n", "a.conll"), columns: LabelledColumns()))
  }

  @Test func labelsThatAreEmptyAreTold() throws {
    for (text, name) in [("text,label\na,x\nb,\n", "a.csv"), ("a\tO\n\nb\t\n", "a.conll")] {
      let found = try rows(text, name)
      let told = message { _ = try LabellingFinder().labelling(of: found) }
      #expect(told.contains(":3: the label is empty"), "\(told)")
    }
    let file = try write("text,label\na,x\nb,\nc,y\n", "a.csv")
    let skipping = try LabelledFiles([file], columns: LabelledColumns(), skipBadLines: true).survey()
    #expect(try LabellingFinder().labelling(of: skipping).labels == ["x", "y"])
    let several = try rows("text,label\na,x|y\nb,\n", "a.csv")
    #expect(try LabellingFinder(problem: .multiLabel).labelling(of: several).labels == ["x", "y"])
  }

  @Test func entitiesThatBeginInsideAreNoticed() throws {
    let inside = try rows("EU I-ORG\nsaid O\nIn I-LOC\nBern I-LOC\n\nUno B-LOC\n", "a.conll")
    #expect(LabelSurvey(inside).isInside)
    let marked = try rows("EU B-ORG\nsaid O\nIn B-LOC\nBern I-LOC\n\nUno I-LOC\n", "a.conll")
    #expect(!LabelSurvey(marked).isInside)
  }

  @Test func packedFilesAndTablesOfOtherKindsAreNoText() throws {
    for name in ["a.jsonl.gz", "a.parquet", "a.xlsx"] {
      let told = message { _ = try rows("PAR1", name) }
      #expect(told.contains("/\(name): expected a .txt, .jsonl"), "\(told)")
    }
  }

  @Test func textToGoOnWithIsNotLabelled() throws {
    for (text, name) in [(#"{"text": "a"}"#, "a.jsonl"), ("text\na\n", "a.csv"), ("prompt;completion\na;b\n", "a.csv")]
    {
      #expect(!LabelledRows.areLabelled(try write(text, name), columns: LabelledColumns()))
    }
    for (text, name) in [
      (#"{"text": "a", "label": 1}"#, "a.jsonl"), ("text,label\na,b\n", "a.csv"), ("a\tb\n", "a.tsv"),
    ] {
      #expect(LabelledRows.areLabelled(try write(text, name), columns: LabelledColumns()))
    }
  }

  /// The next row shows what the first one leaves open.
  @Test func aLabelThatIsNullDecidesNothing() throws {
    let null = #"{"text": "a", "label": null}"# + "\n"
    let file = try write(null + null + #"{"text": "b", "label": "x"}"#, "a.jsonl")
    #expect(LabelledRows.areLabelled(file, columns: LabelledColumns()))
    #expect(!LabelledRows.areLabelled(try write(null, "a.jsonl"), columns: LabelledColumns()))
    #expect(!LabelledRows.areLabelled(try write(null + #"{"text": "b"}"#, "a.jsonl"), columns: LabelledColumns()))
    let told = message {
      _ = try LabellingFinder().labelling(of: try rows(try String(contentsOfFile: file, encoding: .utf8), "a.jsonl"))
    }
    #expect(told.contains(":1: no label"), "\(told)")
  }

  @Test func linesToJudgeAreTextsOrObjects() throws {
    let path = try write("a b\r\n\n{\"text\": \"c\"}\n [d]", "a.txt")
    let rows = try LabelledRows(path, columns: LabelledColumns(), takesText: true)
    for expected in ["a b", "c", "[d]"] {
      guard case .text(let text, nil)? = try rows.nextRow()?.content else {
        Issue.record("no text")
        return
      }
      #expect(text == expected)
    }
    #expect(try rows.nextRow() == nil)
  }

  @Test func whatIsWrongIsSaidWithItsPlace() throws {
    let text = message { _ = try rows("text,label\na\n", "a.csv") }
    #expect(text.contains("a.csv:2: 1 fields"))
    let missing = message { _ = try rows(#"{"txt": "a"}"#, "a.jsonl") }
    #expect(missing.contains("a.jsonl:1: none of text") && missing.contains("--text-column"))
    let mixed = message {
      _ = try LabellingFinder().labelling(of: try rows("text,label\na,1\nb,yes\n", "a.csv"))
    }
    #expect(mixed.contains("some labels are words and some numbers"))
  }

  /// What is read a row at a time and twice makes the same samples, from a file, an array, and a pipe that can be read once.
  @Test func rowsAreReadAgainFromWhereverTheyCome() throws {
    let lines = (0..<100).map { "{\"text\": \"row \($0)\", \"label\": \"\($0 % 3 == 0 ? "a" : "b")\"}" }
    let plain = try write(lines.joined(separator: "\n"), "a.jsonl")
    let array = try write("[" + lines.joined(separator: ",\n") + "]", "a.json")
    let pipe = try write("", "b.jsonl")
    try FileManager.default.removeItem(atPath: pipe)
    #expect(mkfifo(pipe, 0o600) == 0)
    let text = Data(lines.joined(separator: "\n").utf8)
    Thread.detachNewThread { FileHandle(forWritingAtPath: pipe)?.write(text) }
    for path in [plain, array, pipe] {
      let files = try LabelledFiles([path], columns: LabelledColumns())
      for _ in 0..<2 {
        let survey = try files.survey()
        #expect(survey.rowCount == 100)
        #expect(try LabellingFinder().labelling(of: survey).labels == ["a", "b"])
      }
    }
  }

  @Test func anArrayThatDoesNotEndIsToldOnce() throws {
    let path = try write(#"[{"text": "a", "label": 1}, {"text": "b""#, "a.json")
    let skipping = try LabelledFiles([path], columns: LabelledColumns(), skipBadLines: true)
    #expect(try skipping.survey().rowCount == 1)
    let strict = try LabelledFiles([path], columns: LabelledColumns())
    let text = message { _ = try strict.survey() }
    #expect(text.contains("does not end"))
  }

  /// Batches of an evaluation are made when they are asked for, in any order.
  @Test func allSamplesOfAnEvaluationComeOnceInAnyOrder() throws {
    let samples = (0..<1000).map { index in
      var sample = Sample(
        tokens: [Int32](repeating: Int32(index), count: 1 + index * 7 % 31),
        labels: [Int32](repeating: 0, count: 1 + index * 7 % 31))
      sample.labelsFollow = false
      return sample
    }
    let plan = try BatchPlan(
      try TrainingData(samples: samples), maximumLength: 64, seed: 1, shuffles: false, samplesPerStep: 4)
    let batches = plan.all(microBatchSize: 3)
    var seen: [Int32] = []
    for index in batches.indices.reversed() {
      let batch = batches[index]
      for segment in 0..<batch.segments.count - 1 where batch.labels[batch.segments[segment]] == 0 {
        seen.append(batch.tokens[batch.segments[segment]])
      }
    }
    #expect(seen.sorted() == (0..<1000).map { Int32($0) })
    // However large a batch, its rows are the same.
    let tokens = batches.flatMap(\.tokens)
    #expect(plan.all(microBatchSize: 1).flatMap(\.tokens) == tokens)
    #expect(plan.all(microBatchSize: 64).flatMap(\.tokens) == tokens)
  }

  @Test func stepsOfSamplesArePackedWithoutSeeingEachOther() throws {
    let samples = [3, 5, 2, 4, 1].map { length in
      var sample = Sample(
        tokens: [Int32](repeating: Int32(length), count: length),
        labels: [7] + [Int32](repeating: Label.ignored, count: length - 1))
      sample.labelsFollow = false
      return sample
    }
    let data = try TrainingData(samples: samples)
    let plan = try BatchPlan(data, maximumLength: 512, seed: 1, shuffles: false, samplesPerStep: 4)
    #expect(plan.stepsPerEpoch(rowsPerStep: 9) == 2)
    #expect(plan.rowsPerStep(9) == 3)
    let batches = plan.step(0, rows: 9, microBatchSize: 8)
    #expect(batches.count == 1 && batches[0].rowLength == 5)
    // 5 | 4 | 3 2, and a place of padding
    #expect(batches[0].segments == [0, 5, 9, 10, 13, 15])
    #expect(batches[0].labelledTokenCount == 4)
    // However a step is cut, its rows are the same.
    let ones = plan.step(0, rows: 9, microBatchSize: 1)
    #expect(ones.map(\.rowLength) == [5, 5, 5] && ones.flatMap(\.tokens) == batches[0].tokens)
    #expect(plan.all(microBatchSize: 2).reduce(0) { $0 + $1.labelledTokenCount } == 5)
  }

  /// As of one to five stars: what transformers' scripts make of them, too.
  @Test func numbersWithoutAZeroAreNames() throws {
    let found = try rows("text,label\na,5\nb,1\nc,3\nd,5\n", "a.csv")
    #expect(try LabellingFinder().labelling(of: found).labels == ["1", "3", "5"])
    let ids = try rows("text,label\na,4\nb,0\n", "a.csv")
    #expect(try LabellingFinder().labelling(of: ids).labels.count == 5)
    let lists = try rows(#"{"text": "a", "label": [1, 10000]}"# + "\n" + #"{"text": "b", "label": []}"#, "a.jsonl")
    #expect(try LabellingFinder().labelling(of: lists).labels == ["1", "10000"])
    let zeros = try rows(#"{"text": "a", "label": [0, 1, 1]}"#, "a.jsonl")
    #expect(try LabellingFinder().labelling(of: zeros).labels == ["LABEL_0", "LABEL_1", "LABEL_2"])
  }

  /// SNLI has it where people did not agree, and GLUE in what it keeps back.
  @Test func minusOneBesideIdsIsNoLabel() throws {
    let path = try write("text,label\na,0\nb,-1\nc,2\n", "a.csv")
    let told = message {
      _ = try LabellingFinder().labelling(of: try LabelledFiles([path], columns: LabelledColumns()).survey())
    }
    #expect(told.contains("a.csv:3: label -1 is no number of a label"), "\(told)")
    let skipping = try LabelledFiles([path], columns: LabelledColumns(), skipBadLines: true).survey()
    #expect(try LabellingFinder().labelling(of: skipping).labels.count == 3)
    // Without a 0 it is one of two signs.
    let signs = try LabelledFiles(
      [try write("text,label\na,1\nb,-1\n", "b.csv")], columns: LabelledColumns(), skipBadLines: true
    ).survey()
    #expect(message { _ = try LabellingFinder().labelling(of: signs) }.contains("b.csv:3: label -1"))
    let other = message { _ = try LabellingFinder().labelling(of: try rows("text,label\na,1\nb,-2\n", "c.csv")) }
    #expect(other.contains("c.csv:3: label -2"), "\(other)")
  }

  @Test func wordsOfWhichTheModelKnowsNoneAreAnotherTask() throws {
    let model = Labelling(task: .sequenceClassification, labels: ["neg", "pos"])
    let told = message { try LabelSurvey(try rows("text,label\na,x\nb,y\n", "a.csv")).checkNames(knownBy: model) }
    #expect(told.contains("none of the labels x, y") && told.contains("--labels x,y"), "\(told)")
    for text in ["text,label\na,x\nb,pos\n", "text,label\na,0\nb,1\n"] {
      try LabelSurvey(try rows(text, "a.csv")).checkNames(knownBy: model)
    }
  }

  /// As a model is trained on sentences whose words are single characters.
  @Test func wordsOfChineseTextsAreTheTokenizers() throws {
    let words = ["[UNK]", "\u{5317}", "\u{4eac}", "in", "##n", "\u{304b}", "##\u{304b}"]
    let vocabulary = words.enumerated().map { "\"\($1)\": \($0)" }.joined(separator: ", ")
    let tokenizer = try Tokenizer(
      json: """
        {"added_tokens": [], "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
         "strip_accents": null, "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"},
         "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
         "max_input_chars_per_word": 100, "vocab": {\(vocabulary)}}}
        """)
    let json = try JSONValue.parse(
      """
      {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 32, "intermediate_size": 64,
       "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 64, "max_position_embeddings": 24}
      """, file: "config.json")
    let labelling = Labelling(task: .tokenClassification, labels: ["O", "B-x"])
    let samples = LabelledSamples(
      tokenizer: tokenizer, labelling: labelling,
      description: try ModelDescription(json: json, file: "config.json", labelling: labelling), maximumLength: 24)
    func found(_ text: String) -> [Range<Int>] {
      samples.question(LabelledRow(.text(text, pair: nil), file: "", line: 1)).words
    }
    #expect(found("inn \u{5317}\u{4eac}in\u{5317}") == [0..<3, 4..<5, 5..<6, 6..<8, 8..<9])
    #expect(found("in-in \u{304b}\u{304b}") == [0..<5, 6..<7, 7..<8])
  }

  /// As issues come from a forge.
  @Test func whoIsAskedDoesNotReadLabels() throws {
    let path = try write(#"{"text": "a", "labels": [{"name": "bug"}]}"#, "a.jsonl")
    let told = message { _ = try LabelledRows(path, columns: LabelledColumns()).nextRow() }
    #expect(told.contains("labels is no text, number or list of them"), "\(told)")
    let row = try LabelledRows(path, columns: LabelledColumns(), readsLabels: false).nextRow()
    #expect(row != nil && row?.label == nil)
    let table = try write("text,toxic,threat\na,-1,-1\n", "a.csv")
    let asked = try LabelledRows(table, columns: LabelledColumns(label: "toxic,threat"), readsLabels: false)
    #expect(try asked.nextRow() != nil)
  }
}
