import Architectures
import Formats
import FoundationEssentials
import Kernels
import Memory
import Tokenization
import Transformer
import Tuning
import WeightStore

/// A model with its tokenizer and, perhaps, an adapter, ready to be used but not trained.
public final class LoadedModel {
  public let model: LanguageModel
  public let tokenizer: Tokenizer
  public let pool: ThreadPool
  public let precision: Precision
  /// Tokens after which generation ends.
  public let stopTokens: Set<Int32>
  /// Owns the memory of `method`.
  private let arena: Arena?
  private let method: (any TuningMethod)?

  /// - Parameters:
  ///   - directory: store or model folder
  ///   - adapter: PEFT folder, or a GGUF LoRA
  public init(directory: String, adapter: String?, precision: Precision, threads: Int?) throws {
    if precision == .f32 { try ReferenceProduct.prepare() }
    model = try LanguageModel(store: try Self.open(directory, adapter: adapter))
    tokenizer = try Tokenizer.load(directory: directory)
    stopTokens = try Self.stopTokens(model: model, tokenizer: tokenizer)
    pool = ThreadPool(threadCount: threads)
    self.precision = precision
    guard let adapter else {
      (arena, method) = (nil, nil)
      return
    }
    let (arena, method) = try AdapterImporter.withFolder(adapter, for: model.description) { [model] in
      try AdapterFolder.open($0, for: model)
    }
    method.parametersChanged(pool: pool)
    method.attach(to: model)
    (self.arena, self.method) = (arena, method)
  }

  /// Tokens of the longest text.
  public var maximumPositions: Int { model.description.maximumPositions - (method?.prefixCount ?? 0) }

  /// A store as the model that an adapter was made for: with the adapter's head, if it has one.
  static func open(_ directory: String, adapter: String?) throws -> WeightStore {
    let store = try WeightStore.open(directory)
    guard let adapter, let labelling = try AdapterFolder.labelling(of: adapter, base: store.description) else {
      return store
    }
    return try WeightStore.open(directory, labelling: labelling)
  }

  /// What the model says of texts or tokens.
  /// - Throws: where it has no head for that, or one that nobody trained
  public func labelling() throws -> Labelling {
    guard let labelling = model.description.labelling else {
      throw WeightStore.Invalid(
        directory: model.store.directory,
        reason: "the model says no labels; name an adapter with a head with --adapter, or train one with labelled data")
    }
    guard model.labelHead?.isReady ?? false else {
      throw WeightStore.Invalid(
        directory: model.store.directory, reason: "the weights of the head are missing; name its adapter with --adapter"
      )
    }
    return labelling
  }

  /// What the configuration, `generation_config.json` and the tokenizer call the end, and the ends of turns by name.
  private static func stopTokens(model: LanguageModel, tokenizer: Tokenizer) throws -> Set<Int32> {
    var ids = model.description.eosTokenIDs
    let path = "\(model.store.directory)/generation_config.json"
    if FileManager.default.fileExists(atPath: path), let end = try JSONValue.parse(contentsOf: path)["eos_token_id"] {
      ids += end.arrayValue?.compactMap(\.intValue) ?? end.intValue.map { [$0] } ?? []
    }
    var stops = Set(ids.compactMap { Int32(exactly: $0) })
    if let end = tokenizer.eosTokenID { stops.insert(end) }
    for name in ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>"] {
      if let id = tokenizer.tokenID(name) { stops.insert(id) }
    }
    return stops
  }

  /// Working memory for `tokens` tokens at a time.
  func makeWorkspace(
    tokens: Int, positions: Int, headRows: Int, purpose: Workspace.Purpose, cacheCapacity: Int? = nil
  ) throws -> (workspace: Workspace, pass: Pass, cache: KeyValueCache?, arena: Arena) {
    let (arena, made) = try Arena.filled { arena in
      let engine = ComputeEngine(
        precision: precision, pool: pool,
        demands: model.demands(tokens: tokens, headRows: headRows, gradients: false), arena: arena)
      let workspace = Workspace(
        model: model, keptColumns: { [method] in method?.keptColumns(at: $0) ?? 0 },
        keptBlockColumns: { [method] in method?.keptBlockColumns(at: $0) ?? 0 },
        prefixCount: method?.prefixCount ?? 0, tokenCapacity: tokens,
        positionCount: positions, headRows: headRows, purpose: purpose, precision: precision,
        threadCount: pool.threadCount, arena: arena)
      let cache = cacheCapacity.map { KeyValueCache(model: model, capacity: $0, arena: arena) }
      return (engine, workspace, cache)
    }
    let (engine, workspace, cache) = made
    workspace.prepare()
    return (workspace, Pass(engine: engine), cache, arena)
  }
}
