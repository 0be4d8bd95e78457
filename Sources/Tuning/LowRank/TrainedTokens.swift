import Architectures
import Formats
import Kernels
import Memory
import Transformer

/// Rows of the embedding that are trained beside an adapter: those of a few tokens, whole.
///
/// Source: `trainable_token_indices` of PEFT, which keeps the rows and not their difference from the model's.
struct TrainedTokens {
  let tokens: [Int]
  private let rows: Trainable
  /// What is needed to train; `nil` where the rows are only applied.
  private let training: TokenRows.Training?
  private let model: LanguageModel

  /// The name that PEFT's files have for the rows.
  private static func tensorName(_ model: LanguageModel) -> String {
    "base_model.model.\(module(model)).token_adapter.trainable_tokens_delta"
  }

  /// The path that Hugging Face gives the embedding: `model.embed_tokens`.
  private static func module(_ model: LanguageModel) -> String {
    String(model.description.embedding.tokens.name.dropLast(".weight".count))
  }

  /// The tokens whose rows of the embedding are meant.
  /// - Throws: `AdapterError` for rows of another module, tokens that the model has not, and models whose embedding is no
  ///   plain table
  static func tokens(_ wanted: [PEFTLoRA.TokenRows], in model: LanguageModel) throws -> [Int] {
    guard let first = wanted.first else { return [] }
    func refuse(_ reason: String) -> AdapterError { .unsuitableModel("trainable_token_indices: \(reason)") }
    let embedding = module(model)
    func isEmbedding(_ rows: PEFTLoRA.TokenRows) -> Bool {
      rows.module.map { embedding == $0 || embedding.hasSuffix(".\($0)") } ?? true
    }
    // Those of a tied head are the same rows.
    for rows in wanted
    where !isEmbedding(rows)
      && !(model.description.head.isTied && rows.module == "lm_head" && rows.tokens == first.tokens)
    {
      throw refuse("rows of \(rows.module ?? "") cannot be trained, only those of the embedding \(embedding)")
    }
    guard let tokens = wanted.first(where: isEmbedding)?.tokens else {
      throw refuse("rows of the head are only trained with those of the embedding that it is tied to")
    }
    if let token = tokens.first(where: { $0 >= model.vocabularySize }) {
      throw refuse("token \(token) is not in the vocabulary of \(model.vocabularySize)")
    }
    guard Set(tokens).count == tokens.count else { throw refuse("a token is there twice") }
    guard model.embedsPlainly else {
      throw refuse("this model projects its embedding, whose rows are not trained here")
    }
    return tokens
  }

  /// What is to be reserved.
  static func wish(_ tokens: [Int], in model: LanguageModel) -> Trainables.Wish {
    Trainables.Wish(tensorName(model), rows: tokens.count, columns: model.embeddingWidth)
  }

  /// - Parameter rows: what `wish` has become
  init(_ tokens: [Int], rows: Trainable, model: LanguageModel, in room: TuningRoom) {
    self.tokens = tokens
    self.rows = rows
    self.model = model
    func matrix(_ name: String) -> Matrix {
      room.arena.matrix(name, kind: .adapter, rows: tokens.count, columns: model.embeddingWidth)
    }
    training =
      !room.isTrained
      ? nil
      : TokenRows.Training(
        frozen: matrix("frozen rows of tokens"), embeddingGradient: matrix("gradient of embedded tokens"),
        headGradient: matrix("gradient of the head's tokens"), padding: model.paddingToken)
  }

  func hook(into model: LanguageModel) {
    model.setTokenRows(TokenRows(tokens: tokens, rows: rows.matrix, training: training))
  }

  /// The rows become the model's.
  func initialize() {
    read(into: rows.matrix)
    readFrozen()
  }

  /// Takes over the model's rows beside those that are trained.
  func readFrozen() { if let training { read(into: training.frozen) } }

  private func read(into target: Matrix) {
    for (place, token) in tokens.enumerated() { model.frozenRow(token, into: target.row(place)) }
    model.store.dropPages()
  }

  /// Before the first pass of a step.
  func begin() {
    guard let training else { return }
    VectorOperations.fill(training.embeddingGradient, with: 0)
    VectorOperations.fill(training.headGradient, with: 0)
  }

  /// After the last way back of a step.
  func completeGradients(pool: ThreadPool) {
    guard let training else { return }
    VectorOperations.add(training.embeddingGradient, to: rows.gradient, pool: pool)
    VectorOperations.add(training.headGradient, to: rows.gradient, pool: pool)
  }

  /// The tensor of the model that has the rows, and what becomes of them.
  var merge: RowMerge {
    let places = Dictionary(uniqueKeysWithValues: tokens.enumerated().map { ($1, $0) })
    let matrix = rows.matrix
    return RowMerge(tensor: model.description.embedding.tokens.name) { places[$0].map { matrix.row($0) } }
  }
}
