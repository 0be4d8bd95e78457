import Architectures
import Data
import Options
import Transformer

/// What the model is to say of the data, and where the data says it.
public struct TaskOptions: Sendable {
  /// How labels weigh in the loss.
  public enum ClassWeights: Sendable, Equatable {
    case even
    /// Inversely to how often they occur.
    case balanced
    case list([Float])
  }

  /// `nil` where the data decides.
  public var task: ModelTask?
  public var problem: ProblemType?
  /// Names of labels by id.
  public var labels: [String]?
  public var columns: LabelledColumns
  public var classWeights: ClassWeights
  public var smoothing: Float

  package static let declarations: [OptionDeclaration] =
    [
      .init(
        "task", "KIND", identifies: true,
        "seq_cls (a label for a text), token_cls (one for each word) or causal_lm (default: as the data is)"),
      .init(
        "problem-type", "KIND", identifies: true,
        "single_label_classification, multi_label_classification or regression (default: as the labels are)"),
      .init(
        "labels", "NAMES", identifies: true, "names of the labels by id, separated by commas (default: the data's)"),
    ] + columnDeclarations + [
      .init(
        "class-weights", "LIST", identifies: true, "balanced, or a weight for each label, separated by commas"),
      .init(
        "label-smoothing", "X", default: "0", aliases: ["label-smoothing-factor"], identifies: true,
        "share of a label that is spread over all"),
    ]

  /// Which columns of the data are what.
  public static let columnDeclarations: [OptionDeclaration] = [
    .init("columns", "NAMES", "names of the columns of a CSV or TSV file without a header, such as text,label"),
    .init("text-column", "NAME", "column of the text or of the words (default: text, sentence, tokens, ...)"),
    .init("pair-column", "NAME", "column of the second text (default: text_pair, sentence2, hypothesis)"),
    .init(
      "label-column", "NAME",
      "column of the label (default: label, labels, ner_tags, tags); several of zeros and ones, such as toxic,threat"),
  ]

  init(_ values: OptionValues) throws {
    task = try values.optionalChoice("task", ModelTask.self)
    problem = try values.optionalChoice("problem-type", ProblemType.self)
    labels = values.text("labels").map { $0.split(separator: ",").map(String.init) }
    columns = Self.columns(values)
    smoothing = Float(try values.number("label-smoothing", in: 0...0.99))
    switch values.text("class-weights") {
    case nil: classWeights = .even
    case "balanced": classWeights = .balanced
    case let text?:
      let weights = text.split(separator: ",").compactMap { Float($0) }
      guard !weights.isEmpty, weights.count == text.split(separator: ",").count,
        weights.allSatisfy({ $0 >= 0 && $0.isFinite })
      else { throw OptionError("--class-weights \(text): expected balanced, or numbers separated by commas") }
      classWeights = .list(weights)
    }
    if let labels, labels.isEmpty || Set(labels).count != labels.count {
      throw OptionError("--labels: expected different names separated by commas")
    }
  }

  /// The columns that a command was told.
  public static func columns(_ values: OptionValues) -> LabelledColumns {
    LabelledColumns(
      names: values.text("columns").map { $0.split(separator: ",").map(String.init) },
      text: values.text("text-column"), pair: values.text("pair-column"), label: values.text("label-column"))
  }

  /// Whether the data is labelled: by what was said, by the model that the run goes on with, or by the first file.
  func isLabelled(_ files: [String], known: Labelling?) -> Bool {
    if let task { return task != .causalLM }
    if problem != nil || labels != nil || known != nil { return true }
    return files.first.map { LabelledRows.areLabelled($0, columns: columns) } ?? false
  }

  /// - Parameter labelling: what the model says; `nil` where it goes on with texts
  /// - Throws: `OptionError` for an option that the loss of such data has no place for
  package func checkLoss(of labelling: Labelling?) throws {
    if smoothing > 0, labelling?.problem != .singleLabel {
      throw OptionError(
        "--label-smoothing needs data with one label to a text or to a word; " + Self.found(labelling))
    }
    if classWeights != .even, labelling == nil || labelling?.problem == .regression {
      throw OptionError("--class-weights needs data with labels; " + Self.found(labelling))
    }
  }

  private static func found(_ labelling: Labelling?) -> String {
    labelling.map { "this is \($0.problem.rawValue)" } ?? "this is text to go on with"
  }

  /// What is minimised.
  func loss(_ labelling: Labelling, samples: SampleList) throws -> LabelLoss {
    var loss = LabelLoss(problem: labelling.problem, smoothing: smoothing)
    switch classWeights {
    case .even: break
    case .list(let weights):
      guard weights.count == labelling.labels.count else {
        throw OptionError("--class-weights has \(weights.count) numbers for \(labelling.labels.count) labels")
      }
      loss.classWeights = weights
    case .balanced:
      guard labelling.problem == .singleLabel else {
        throw OptionError("--class-weights balanced needs one label to a text; give a list of weights")
      }
      var counts = [Int](repeating: 0, count: labelling.labels.count)
      for sample in samples { for label in sample.labels where label >= 0 { counts[Int(label)] += 1 } }
      let all = counts.reduce(0, +)
      loss.classWeights = counts.map { $0 == 0 ? 0 : Float(all) / Float(counts.count * $0) }
    }
    return loss
  }
}
