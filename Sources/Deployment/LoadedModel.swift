import Architectures
import Data
import Formats
import FoundationEssentials
import Kernels
import Memory
import Tokenization
import Transformer
import Tuning
import WeightStore

/// A model with its tokenizer, if it has one, and, perhaps, adapters of which one is chosen, ready to be used but not trained.
public final class LoadedModel {
  public let model: LanguageModel
  private let ownTokenizer: Tokenizer?
  public let pool: ThreadPool
  public let precision: Precision
  /// Tokens after which generation ends.
  public let stopTokens: Set<Int32>
  /// The adapters, each with the arena that owns its memory.
  private let adapters: [(name: String, arena: Arena, method: any TuningMethod)]
  private var method: (any TuningMethod)?

  /// - Parameters:
  ///   - directory: store or model folder
  ///   - adapter: PEFT folder, or a GGUF LoRA
  ///   - needsTokenizer: `false` where texts may come as ids: a language model then needs none
  public convenience init(
    directory: String, adapter: String?, precision: Precision, threads: Int?, needsTokenizer: Bool = true
  ) throws {
    try self.init(
      directory: directory, adapters: adapter.map { [("", $0)] } ?? [], precision: precision, threads: threads,
      needsTokenizer: needsTokenizer)
    if adapter != nil { select("") }
  }

  /// A model without an adapter at first.
  ///
  /// - Parameters:
  ///   - adapters: names and folders
  ///   - needsTokenizer: `false` where texts may come as ids: a language model then needs none
  public init(
    directory: String, adapters paths: [(name: String, path: String)], precision: Precision, threads: Int?,
    needsTokenizer: Bool = true
  ) throws {
    if precision == .f32 { try ReferenceProduct.prepare() }
    model = try LanguageModel(store: try Self.open(directory, adapter: paths.first?.path))
    let isNeeded = needsTokenizer || model.description.labelling != nil || TokenizerFolder.hasTokenizer(directory)
    ownTokenizer = isNeeded ? try Tokenizer.load(directory: directory) : nil
    stopTokens = try StopTokens.of(model.description, directory: model.store.directory, tokenizer: ownTokenizer)
    for (_, path) in paths.dropFirst() {
      guard try Self.open(directory, adapter: path).description.labelling == model.description.labelling else {
        throw WeightStore.Invalid(directory: path, reason: "says other labels than \(paths[0].path)")
      }
    }
    pool = ThreadPool(threadCount: threads)
    self.precision = precision
    adapters = try paths.map { [model, pool] name, path in
      let (arena, method) = try AdapterImporter.withFolder(path, for: model.description) {
        try AdapterFolder.open($0, for: model)
      }
      method.parametersChanged(pool: pool)
      return (name, arena, method)
    }
  }

  /// For who has not said that texts may come as ids.
  public var tokenizer: Tokenizer {
    guard let ownTokenizer else { preconditionFailure("a model without a tokenizer is asked about texts") }
    return ownTokenizer
  }

  /// The tokenizer for who may need none; without one, the first text is refused with what is missing.
  public var tokenizerSource: TokenizerSource {
    ownTokenizer.map(TokenizerSource.init) ?? TokenizerSource(directory: model.store.directory)
  }

  /// Makes the model compute with an adapter from now on; without one if `nil`. Nothing is read again.
  public func select(_ name: String?) {
    let chosen = name.flatMap { name in adapters.first { $0.name == name }?.method }
    guard chosen !== method else { return }
    method = chosen
    if let chosen { chosen.attach(to: model) } else { model.removeHooks() }
  }

  /// Tokens of the longest text.
  public var maximumPositions: Int { model.description.maximumPositions - prefixCount - promptCount }

  /// Rows that any adapter puts in front of an embedded text, at most.
  var promptCount: Int { adapters.map { $0.method.promptCount }.max() ?? 0 }

  /// What stands in front of every text while the chosen adapter is in use.
  var virtualTokens: [Int32] { VirtualToken.ids(method?.promptCount ?? 0) }

  /// What stands in front of a text while the adapter `name` is in use.
  public func virtualTokens(of name: String?) -> [Int32] {
    let adapter = name.flatMap { name in adapters.first { $0.name == name } }
    return VirtualToken.ids(adapter?.method.promptCount ?? 0)
  }

  /// The same, in batches.
  var promptPlaces: PromptPlaces {
    PromptPlaces(
      count: method?.promptCount ?? 0,
      takesFirstLabel: model.description.isEncoder
        && model.description.labelling?.task == .sequenceClassification)
  }

  /// Keys and values that any adapter puts in front of a text, at most.
  private var prefixCount: Int { adapters.map { $0.method.prefixCount }.max() ?? 0 }

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

  /// Working memory for `tokens` tokens at a time.
  func makeWorkspace(
    tokens: Int, positions: Int, headRows: Int, purpose: Workspace.Purpose, cacheCapacity: Int? = nil
  ) throws -> (workspace: Workspace, pass: Pass, cache: KeyValueCache?, arena: Arena) {
    let (arena, made) = try Arena.filled { arena in
      let (workspace, engine) = reserve(
        tokens: tokens, positions: positions, headRows: headRows, purpose: purpose, arena: arena)
      return (workspace, engine, cacheCapacity.map { KeyValueCache(model: model, capacity: $0, arena: arena) })
    }
    let (workspace, engine, cache) = made
    workspace.prepare()
    return (workspace, Pass(engine: engine), cache, arena)
  }

  private func reserve(
    tokens: Int, positions: Int, headRows: Int, purpose: Workspace.Purpose, arena: Arena
  ) -> (Workspace, ComputeEngine) {
    let engine = ComputeEngine(
      precision: precision, pool: pool,
      demands: model.demands(tokens: tokens, headRows: headRows, gradients: false), arena: arena)
    let workspace = Workspace(
      model: model, keptColumns: { [adapters] place in adapters.map { $0.method.keptColumns(at: place) }.max() ?? 0 },
      blockAdapters: { [adapters] place in
        BlockAdapterDemands(of: adapters.map { $0.method.blockAdapters(at: place) })
      },
      prefixCount: prefixCount, tokenCapacity: tokens, positionCount: positions, headRows: headRows, purpose: purpose,
      precision: precision, threadCount: pool.threadCount, arena: arena)
    return (workspace, engine)
  }

  /// Working memory for several texts at once, each with a cache.
  ///
  /// - Parameters:
  ///   - contextLength: tokens of a text
  ///   - chunk: tokens of a prompt that are read together
  ///   - make: makes of each cache what is kept of it
  public func makeServing<Slot>(
    slots: Int, contextLength: Int, chunk: Int, _ make: (KeyValueCache) -> Slot
  ) throws -> (workspace: Workspace, pass: Pass, arena: Arena, slots: [Slot]) {
    let (arena, made) = try Arena.filled {
      serving(slots: slots, contextLength: contextLength, chunk: chunk, arena: $0)
    }
    made.workspace.prepare()
    return (made.workspace, Pass(engine: made.engine), arena, made.caches.map(make))
  }

  /// Bytes that `makeServing` takes.
  public func servingByteCount(slots: Int, contextLength: Int, chunk: Int) throws -> Int {
    let arena = Arena.counting
    _ = serving(slots: slots, contextLength: contextLength, chunk: chunk, arena: arena)
    return arena.byteCount
  }

  private func serving(
    slots: Int, contextLength: Int, chunk: Int, arena: Arena
  ) -> (workspace: Workspace, engine: ComputeEngine, caches: [KeyValueCache]) {
    let capacity = contextLength + promptCount
    let (workspace, engine) = reserve(
      tokens: max(chunk, slots), positions: capacity, headRows: slots,
      purpose: .generation(capacity: capacity), arena: arena)
    let caches = (0..<slots).map { _ in KeyValueCache(model: model, capacity: capacity, arena: arena) }
    return (workspace, engine, caches)
  }
}
