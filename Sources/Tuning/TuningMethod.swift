import Kernels
import Memory
import Transformer

/// A way to train a frozen model: what it trains, and where it hooks into the model.
///
/// A method may hook in at four places: a linear layer's output (`LinearAdapter`), a block's output, the keys and values in
/// front of a layer's attention, and the rows in front of the embedded text.
public protocol TuningMethod: AnyObject {
  /// What is trained.
  var trainables: Trainables { get }

  /// Floats per token that the method keeps at a linear layer for the way back; 0 where it has no hook.
  func keptColumns(at location: LinearLocation) -> Int

  /// Keys and values that it puts in front of layers' attention.
  var prefixCount: Int { get }

  /// Rows that it puts in front of every embedded text.
  var promptCount: Int { get }

  /// Embedding or vocabulary head that it trains whole.
  var replaced: ReplacedTables { get }

  /// What the method's adapters at a block, which its last linear layer stands for, need room for.
  func blockAdapters(at location: LinearLocation) -> BlockAdapterDemands

  /// Hooks into `model` beside what is hooked in already.
  func hook(into model: LanguageModel)

  /// The parameters that training begins with; reproducible from `seed`.
  func initialize(seed: UInt64)

  /// The same once the method is attached, for starts that the model itself computes.
  ///
  /// - Parameters:
  ///   - workspace: of the run; nothing in it is needed afterwards
  func initialize(seed: UInt64, for model: LanguageModel, workspace: Workspace, pass: Pass) throws

  /// Writes the method's configuration and parameters into `directory`, which exists.
  ///
  /// - Parameter baseModel: what the files call the model
  func save(to directory: String, baseModel: String) throws

  /// Reads the parameters of a folder whose configuration this method was made from.
  func load(from directory: String) throws

  /// Called before the first pass after parameters were changed: what follows from them is stale.
  func parametersChanged(pool: ThreadPool)

  /// Called before an optimiser takes the gradients, after they were clipped.
  func prepareUpdate()

  /// Called after the last way back of a step: gradients that hooks left elsewhere go on to the parameters.
  func completeGradients(pool: ThreadPool)
}

extension TuningMethod {
  /// Hooks into `model`, and takes away what another method has hooked in.
  public func attach(to model: LanguageModel) {
    model.removeHooks()
    hook(into: model)
  }

  public var prefixCount: Int { 0 }
  public var promptCount: Int { 0 }
  public var replaced: ReplacedTables { .none }
  public func initialize(seed: UInt64, for model: LanguageModel, workspace: Workspace, pass: Pass) {
    initialize(seed: seed)
  }
  public func blockAdapters(at location: LinearLocation) -> BlockAdapterDemands { BlockAdapterDemands() }
  public func prepareUpdate() {}
  public func parametersChanged(pool: ThreadPool) {}
  public func completeGradients(pool: ThreadPool) {}
}

/// A method whose parameters can become part of the frozen weights.
public protocol MergeableMethod: TuningMethod {
  /// What becomes of the weights, by linear layer.
  func merges() -> [(location: LinearLocation, merge: WeightMerge)]

  /// Rows of other tensors that become others.
  var rowMerges: [RowMerge] { get }

  /// Whether embedding and vocabulary head, which the model has as one matrix, become two.
  var unties: Bool { get }
}

extension MergeableMethod {
  public var rowMerges: [RowMerge] { [] }
  public var unties: Bool { false }
}

/// Rows of a tensor that are others when an adapter is merged. A vector is one row.
public struct RowMerge: Sendable {
  /// As the model's files call it.
  public let tensor: String
  /// What a row becomes, by its number in the tensor; `nil` for one that stays. Valid as long as the method.
  public let row: @Sendable (Int) -> Vector?
}

/// What becomes of a linear layer when an adapter is merged into it. Holds copies of the parameters.
public struct WeightMerge: Sendable {
  /// What becomes of the bias.
  public enum Bias: Sendable {
    /// It stays.
    case kept
    /// It is multiplied, `[out]`.
    case scaled([Float])
    /// It is another one, `[out]`.
    case replaced([Float])
  }

  /// Changes a row of the weight, `[in]`, given its index.
  public let row: @Sendable (_ index: Int, _ values: UnsafeMutableBufferPointer<Float>) -> Void
  public let bias: Bias

  public init(
    bias: Bias = .kept, row: @escaping @Sendable (Int, UnsafeMutableBufferPointer<Float>) -> Void = { _, _ in }
  ) {
    self.row = row
    self.bias = bias
  }
}

/// The hyper-parameters of a method, from which it is made for a model.
public protocol TuningConfiguration: Sendable {
  /// Reserves the method for `model`, which does not know of it before `attach`.
  func reserve(for model: LanguageModel, in room: TuningRoom) throws -> any TuningMethod

  /// Multiply-adds in floats that the method adds to a token's way forth.
  func floatProducts(for model: LanguageModel) throws -> Double

  /// Changes that need less memory, with the options that make them: what a budget that is too small is answered with.
  func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)]

  /// Positions that the method takes in front of every text.
  var virtualTokenCount: Int { get }

  /// Of these, rows in front of the embedded text, which lengthen a batch.
  var promptRowCount: Int { get }

  /// Tokens of a text that a start is computed of.
  var startTokenCount: Int { get }

  /// Name and value of each hyper-parameter, for what a resumed run must share with the first.
  var identity: [(String, String)] { get }
}

extension TuningConfiguration {
  public var virtualTokenCount: Int { 0 }
  public var promptRowCount: Int { 0 }
  public var startTokenCount: Int { 0 }
}
