import Options

/// What is learnt, and how it is read.
public struct DataOptions: Sendable {
  public var files: [String]
  public var maximumLength: Int
  public var shuffles: Bool
  public var trainOnPrompt: Bool
  public var skipBadLines: Bool
  /// Of the samples to train on that are used.
  public var share: Double
  public var evaluationFiles: [String]
  public var evaluationShare: Double

  static let declarations: [OptionDeclaration] = [
    .init(
      "data", "FILE...", aliases: ["train-file", "dataset-name", "dataset"], isList: true,
      ".txt, .jsonl, .json, .csv or .tsv files, - for standard input (default: train.jsonl or train.txt)"),
    .init(
      "max-length", "N", default: "512", aliases: ["max-seq-length", "max-seq-len", "cutoff-len", "block-size"],
      identifies: true, "tokens of a row"),
    .init("no-shuffle", nil, identifies: true, "keep the order of the data"),
    .init("train-on-prompt", nil, identifies: true, "learn the prompts too, not only the answers"),
    .init("skip-bad-lines", nil, "count lines that cannot be used and go on"),
    .init("data-share", "X", default: "1", "share of the samples that is learnt, drawn by --seed"),
    .init("eval-data", "FILE...", aliases: ["validation-file", "eval-dataset"], isList: true, "data to evaluate on"),
    .init("eval-split", "X", default: "0", identifies: true, "share of the data that is kept for evaluation"),
  ]

  init(_ values: OptionValues) throws {
    files = values.list("data")
    maximumLength = try values.number("max-length", in: 8...131_072)
    shuffles = !values.flag("no-shuffle")
    trainOnPrompt = values.flag("train-on-prompt")
    skipBadLines = values.flag("skip-bad-lines")
    share = try values.number("data-share", in: 1e-6...1)
    evaluationFiles = values.list("eval-data")
    evaluationShare = try values.number("eval-split", in: 0...0.9)
    if !evaluationFiles.isEmpty, evaluationShare > 0 {
      throw OptionError("--eval-data and --eval-split both name data to evaluate on; give one of them")
    }
  }

  /// Whether there is something to evaluate on.
  var evaluates: Bool { !evaluationFiles.isEmpty || evaluationShare > 0 }
}
