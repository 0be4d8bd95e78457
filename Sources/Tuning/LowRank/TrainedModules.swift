import Architectures
import Formats
import Kernels
import Memory
import Transformer

/// Modules of a model that are trained whole beside an adapter, in floats: norms, the embedding, the vocabulary head.
///
/// Source: `modules_to_save` of PEFT 0.21, which copies every module whose path ends with one of the names. A head that is tied
/// to the embedding becomes a matrix of its own with that, unless `ensure_weight_tying` is set.
struct TrainedModules {
  /// Which modules the names mean.
  struct Choice {
    /// A norm that has weights.
    struct Norm {
      /// The path that Hugging Face gives it.
      let path: String
      let size: Int
      /// What files leave out of its weights.
      let offset: Float
      let hasBias: Bool
    }

    fileprivate(set) var norms: [Norm] = []
    fileprivate(set) var embedding = false
    fileprivate(set) var head = false
    /// Whether embedding and head stay one matrix, which the embedding is.
    fileprivate(set) var ties = false

    var isEmpty: Bool { norms.isEmpty && !embedding && !head }
    /// Paths of the norms.
    var normPaths: Set<String> { Set(norms.map(\.path)) }
    /// Whether the head computes with a matrix that is trained.
    var trainsHead: Bool { head || ties }
  }

  let choice: Choice
  private let norms: [(place: Choice.Norm, weight: Trainable, bias: Trainable?, effective: Vector?)]
  private let embedding: Trainable?
  private let head: Trainable?
  /// The head's part of the gradient of what it shares with the embedding: apart, so that the order of the sums does not
  /// depend on how a step is cut.
  private let headGradient: Matrix?
  private let model: LanguageModel

  /// What is to be reserved, in this order.
  ///
  /// - Parameter vectorRate: factor of the learning rate of weights and biases of norms
  static func wishes(_ choice: Choice, in model: LanguageModel, vectorRate: Double) -> [Trainables.Wish] {
    func wish(_ name: String, _ rows: Int, _ columns: Int) -> Trainables.Wish {
      Trainables.Wish("base_model.model.\(name)", rows: rows, columns: columns)
    }
    func vector(_ name: String, _ size: Int) -> Trainables.Wish {
      Trainables.Wish(
        "base_model.model.\(name)", rows: 1, columns: size, isVector: true, learningRateFactor: vectorRate,
        decays: false)
    }
    var wishes = choice.norms.flatMap { norm in
      [vector("\(norm.path).weight", norm.size)] + (norm.hasBias ? [vector("\(norm.path).bias", norm.size)] : [])
    }
    if choice.embedding {
      wishes.append(wish(model.description.embedding.tokens.name, model.vocabularySize, model.embeddingWidth))
    }
    if choice.head, let shape = model.vocabularyHeadShape {
      wishes.append(wish("\(ModulePaths.head).weight", shape.rows, shape.columns))
    }
    return wishes
  }

  /// - Parameter entries: what `wishes` have become
  init(_ choice: Choice, _ entries: ArraySlice<Trainable>, model: LanguageModel, in room: TuningRoom) {
    self.choice = choice
    self.model = model
    var rest = entries
    norms = choice.norms.compactMap { norm in
      guard let weight = rest.popFirst() else { return nil }
      return (
        norm, weight, norm.hasBias ? rest.popFirst() : nil,
        norm.offset == 0 ? nil : room.arena.vector("weights of a norm", kind: .adapter, count: norm.size)
      )
    }
    embedding = choice.embedding ? rest.popFirst() : nil
    head = choice.head ? rest.popFirst() : nil
    headGradient =
      choice.ties && room.isTrained
      ? room.arena.matrix(
        "the head's part of a gradient", kind: .gradients, rows: model.vocabularySize, columns: model.embeddingWidth)
      : nil
  }

  func hook(into model: LanguageModel) {
    for (norm, weight, bias, effective) in norms {
      model.setNormWeight(
        TrainedNormWeight(values: effective ?? weight.matrix.row(0), gradient: weight.gradient.elements), at: norm.path)
      guard let bias else { continue }
      model.setNormBias(
        TrainedBias(values: bias.matrix.row(0), gradient: bias.gradient.elements), named: "\(norm.path).bias")
    }
    func table(_ entry: Trainable, padding: Int32? = nil) -> TrainedTable {
      TrainedTable(
        values: entry.matrix, gradient: entry.gradient.rows == 0 ? nil : entry.gradient, padding: padding)
    }
    if let embedding { model.setEmbedding(table(embedding, padding: model.paddingToken)) }
    if let head { model.setVocabularyHead(table(head)) }
    if choice.ties, let embedding {
      model.setVocabularyHead(TrainedTable(values: embedding.matrix, gradient: headGradient))
    }
  }

  /// All become the model's.
  func initialize() {
    let own = Dictionary(model.normWeights.map { ($0.path, $0.values) }, uniquingKeysWith: { first, _ in first })
    let biases = Dictionary(model.normBiases.map { ($0.name, $0.values) }, uniquingKeysWith: { first, _ in first })
    for (norm, weight, bias, _) in norms {
      if let values = own[norm.path] { weight.assign(values.values.map { $0 - norm.offset }) }
      if let bias, let values = biases["\(norm.path).bias"] { bias.assign(values.values) }
    }
    if let matrix = embedding?.matrix {
      for row in 0..<matrix.rows { model.frozenRow(row, into: matrix.row(row)) }
    }
    if let matrix = head?.matrix {
      for row in 0..<matrix.rows { model.frozenHeadRow(row, into: matrix.row(row)) }
    }
    model.store.dropPages()
    parametersChanged()
  }

  /// Before the first pass after parameters were changed.
  func parametersChanged() {
    for (norm, weight, _, effective) in norms {
      guard let effective else { continue }
      effective.assign(weight.matrix.row(0).values.map { $0 + norm.offset })
    }
    if let headGradient { VectorOperations.fill(headGradient, with: 0) }
  }

  /// After the last way back of a step.
  func completeGradients(pool: ThreadPool) {
    guard let headGradient, let embedding else { return }
    VectorOperations.add(headGradient, to: embedding.gradient, pool: pool)
  }

  /// The tensors of the model that become others.
  var merges: [RowMerge] {
    func merge(_ tensor: String, _ entry: Trainable?) -> [RowMerge] {
      guard let matrix = entry?.matrix else { return [] }
      return [RowMerge(tensor: tensor) { matrix.row($0) }]
    }
    var merges = merge(model.description.embedding.tokens.name, embedding)
    merges += merge(headTensor, head)
    for (norm, weight, bias, _) in norms {
      merges += merge("\(norm.path).weight", weight)
      merges += merge("\(norm.path).bias", bias)
    }
    return merges
  }

  /// The weight of the head in files of a model whose embedding is not tied to it.
  private var headTensor: String {
    let head = model.description.head
    guard !head.isTied, let weight = head.weight else { return "\(model.description.family.headPath).weight" }
    return weight.name
  }

  /// What PEFT's files hold once more: the embedding under the name of the head that it is tied to.
  var repeated: [Trainable] {
    guard choice.ties, let embedding else { return [] }
    return [embedding.named("base_model.model.\(ModulePaths.head).weight")]
  }

  /// Whether embedding and head become two matrices.
  var unties: Bool { model.description.head.isTied && !choice.ties && (choice.embedding || choice.head) }
}

extension TrainedModules.Choice {
  /// PEFT's names of modules with embedded tokens, which `ensure_weight_tying` looks for.
  private static let tiedNames = ["embed_tokens", "lm_head"]

  /// - Parameters:
  ///   - names: ends of paths
  ///   - ensuresTying: whether what is tied stays so
  ///   - refusesOthers: whether names of nothing are refused; PEFT passes over them
  /// - Throws: `AdapterError` for modules that cannot be trained whole here
  init(_ names: [String], ensuresTying: Bool, in model: LanguageModel, refusesOthers: Bool) throws {
    guard !names.isEmpty else { return }
    let paths = ModulePaths(model)
    func refuse(_ reason: String) -> AdapterError { .unsuitableModel("modules_to_save: \(reason)") }
    for name in names where !(model.labelHead != nil && Family.headModules.contains(name)) {
      if let path = paths.linears.first(where: { $0.hasSuffix(name) }) {
        throw refuse(
          "\(name) is the linear layer \(path), which is not trained whole; an adapter there does it, of as high a rank as "
            + "is wanted: add \(name) to target_modules, and a rank_pattern such as \(name)=128 if it is to learn more than the "
            + "others")
      }
      if let path = paths.others.first(where: { $0.hasSuffix(name) }) {
        throw refuse("\(name) is \(path), which is not trained whole; \(paths.choices)")
      }
      if refusesOthers, !paths.all.contains(where: { $0.hasSuffix(name) }) {
        throw refuse("no module's path ends with \(name); \(paths.choices)")
      }
    }
    func means(_ path: String) -> Bool { names.contains { path.hasSuffix($0) } }
    let biases = Set(model.normBiases.map(\.name))
    var known = Set<String>()
    norms = model.normWeights.filter { means($0.path) && known.insert($0.path).inserted }.map {
      Norm(path: $0.path, size: $0.values.count, offset: $0.offset, hasBias: biases.contains("\($0.path).bias"))
    }
    embedding = means(paths.embedding)
    head = paths.head.map(means) ?? false
    let lastParts = names.compactMap { $0.split(separator: ".").last.map(String.init) }
    if ensuresTying, model.description.head.isTied, lastParts.contains(where: Self.tiedNames.contains) {
      (embedding, head, ties) = (true, false, true)
    }
    if embedding, !model.embedsPlainly {
      throw refuse("this model projects its embedding \(paths.embedding), which is not trained here")
    }
  }
}

/// The paths that Hugging Face gives the modules of a model.
struct ModulePaths {
  let linears: [String]
  let norms: [String]
  /// The embedding of tokens.
  let embedding: String
  /// The vocabulary head; `nil` of a model that names no tokens.
  let head: String?
  /// Tables of positions and types, and modules that consist of others.
  let others: [String]

  var all: [String] { linears + norms + [embedding] + [head].compactMap { $0 } + others }

  /// What can be trained whole.
  var choices: String {
    let names = Set(norms.compactMap { $0.split(separator: ".").last.map(String.init) }).sorted()
    let tables = [embedding, head].compactMap { $0?.split(separator: ".").last.map(String.init) }
    let all = tables + names
    return "what can be trained whole is \(all.joined(separator: ", "))"
  }

  init(_ model: LanguageModel) {
    func module(_ tensor: String) -> String { tensor.split(separator: ".").dropLast().joined(separator: ".") }
    let description = model.description
    linears = model.linearLocations.map(\.name)
    norms = model.normWeights.map(\.path)
    embedding = module(description.embedding.tokens.name)
    head = model.vocabularyHeadShape == nil ? nil : Self.head
    var others: [String] = []
    var known = Set(linears + norms + [embedding])
    if let head = description.head.weight { known.insert(module(head.name)) }
    for tensor in description.tensors {
      var path = module(tensor.name)
      while !path.isEmpty {
        if known.insert(path).inserted { others.append(path) }
        path = module(path)
      }
    }
    self.others = others
  }

  /// The path of the vocabulary head, whatever files call its weight.
  static let head = "lm_head"
}

extension LanguageModel {
  /// The token whose embedded row transformers gives no gradient: the one that fills up rows.
  var paddingToken: Int32? {
    description.family.paddingToken(store.configurationJSON, vocabularySize: vocabularySize).flatMap {
      (0..<vocabularySize).contains($0) ? Int32($0) : nil
    }
  }
}
