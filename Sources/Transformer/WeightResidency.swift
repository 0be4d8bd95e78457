import Dispatch
import Kernels
import Memory
import Synchronization

/// The mapped weights of a layer.
struct LayerPages {
  let all: MappedPages
  /// In the order of the forward pass.
  let modules: [MappedPages]

  init(_ layer: TransformerLayer) {
    all = MappedPages(layer.linears.flatMap { $0.weight.memory() })
    modules = layer.linears.map { MappedPages($0.weight.memory()) }
  }
}

/// Matrices of the store that a method has others for.
public struct ReplacedTables: Sendable {
  public let embedding: Bool
  public let head: Bool

  public static let none = ReplacedTables(embedding: false, head: false)

  public init(embedding: Bool, head: Bool) {
    self.embedding = embedding
    self.head = head
  }
}

/// Which frozen weights stay in memory between passes. The others are read ahead before their turn and dropped behind it:
/// they come from the page cache, or from storage, once in each direction of a step.
public final class WeightResidency: Sendable {
  private let layers: [LayerPages]
  /// The embedding where the model names no tokens.
  private let head: StoredMatrix
  /// Whether logits are computed with the store's head, and rows looked up in the store's embedding.
  private let usesHead: Bool
  private let usesEmbedding: Bool
  private let embedding: StoredMatrix
  private let headIsEmbedding: Bool
  private let residentLayers: Int
  private let isHeadResident: Bool
  /// Whether the vocabulary head is read anew for every use of it.
  var headPassesThrough: Bool { !isHeadResident }
  /// Rows of the vocabulary head that are used together: a slice as `CrossEntropy` takes it.
  public let sliceRows: Int
  private let yields = Atomic<Bool>(false)
  /// Where models that share the weights take turns; `nil` of a model alone.
  private let turn = Mutex<WeightTurn?>(nil)
  private let streamed = Atomic<Int>(0)
  /// Asks for pages, because a device whose queue is full makes the caller wait.
  private static let reader = DispatchQueue(label: "read-ahead")

  /// Bytes of the vocabulary head that are in memory at a time, where it does not stay.
  private static let sliceBytes = 8 << 20
  /// Rows of a slice where the head stays: their quantised gradients should not be large.
  private static let residentSliceRows = 8192
  /// Bytes of the next layer that are read during a layer's turn. The rest is read in its own, just before it is used: more
  /// would push out of a small memory what the turn still needs.
  private static let readAheadBytes = 8 << 20
  /// What one fault brings in where the page cache has large folios: Linux 6.18 maps all of one, as far as a table of pages
  /// reaches.
  private static let folioBytes = 2 << 20
  /// What one touched row brings in: the kernel maps 16 pages around a fault.
  private static let faultBytes = 64 << 10

  /// - Parameters:
  ///   - strategy: what stays, and the logits of a slice; everything stays if `nil`
  ///   - replaced: what a method has matrices of its own for
  public init(model: LanguageModel, strategy: TrainingStrategy? = nil, replaced: ReplacedTables = .none) {
    layers = model.layerPages
    embedding = model.embedding.tokens
    if case .vocabulary(let vocabulary) = model.head {
      (head, usesHead, headIsEmbedding) = (vocabulary.weight, !replaced.head, model.description.head.isTied)
    } else {
      (head, usesHead, headIsEmbedding) = (embedding, false, true)
    }
    usesEmbedding = !replaced.embedding
    residentLayers = min(strategy?.residentLayers ?? .max, layers.count)
    isHeadResident = strategy?.isHeadResident ?? true
    sliceRows = Self.sliceRows(of: head, most: strategy?.headColumns ?? .max, isResident: isHeadResident)
  }

  private static func sliceRows(of head: StoredMatrix, most: Int, isResident: Bool) -> Int {
    let rowBytes = max(1, head.memory(ofRows: 0..<1)[0].count)
    let rows = isResident ? residentSliceRows : sliceBytes / rowBytes
    let block = CrossEntropy.blockColumns
    return min(head.rows, max(1, min(rows, most) / block) * block)
  }

  /// Tells the kernel what stays and what passes through; once, before the first step.
  func prepare() {
    for (index, layer) in layers.enumerated() { layer.all.expect(index < residentLayers ? .observed : .announced) }
    // Only the codes: the scales stay, and the kernel should keep them.
    for matrix in [embedding, head] { pages(matrix, 0..<matrix.rows).expect(isHeadResident ? .observed : .announced) }
  }

  private func pages(_ matrix: StoredMatrix, _ rows: Range<Int>) -> MappedPages {
    MappedPages(matrix.memory(ofRows: rows))
  }

  /// From now on nothing stays: other programs need the memory.
  public func yieldToOthers() { yields.store(true, ordering: .relaxed) }

  private func stays(_ layer: Int) -> Bool { layer < residentLayers && !yields.load(ordering: .relaxed) }
  private var headStays: Bool { isHeadResident && !yields.load(ordering: .relaxed) }

  /// Bytes of weights that are in memory at the worst moment.
  public var residentByteCount: Int {
    let kept = layers.prefix(residentLayers).reduce(0) { $0 + $1.all.byteCount }
    let passing = layers.dropFirst(residentLayers).map(\.all.byteCount).max() ?? 0
    let lookedUp = usesEmbedding ? MappedPages(embedding.memory()).byteCount : 0
    let vocabulary = usesHead ? MappedPages(head.memory()).byteCount : 0
    if isHeadResident { return kept + passing + (headIsEmbedding ? max(vocabulary, lookedUp) : vocabulary + lookedUp) }
    let slice = usesHead ? pages(head, 0..<sliceRows).byteCount : 0
    let scales = usesHead || headIsEmbedding ? MappedPages(Array(head.memory().dropFirst())).byteCount : 0
    // A row may begin in one folio and end in the next.
    let lookup = min(lookedUp, 2 * Self.folioBytes)
    return kept + scales + max(passing, slice + Self.faultBytes, lookup)
  }

  /// Bytes that are read ahead at the worst moment: in the page cache, not yet in this process.
  public var readAheadByteCount: Int {
    let layer = layers.dropFirst(residentLayers).map { min($0.all.byteCount, Self.readAheadBytes) }.max() ?? 0
    return max(layer, isHeadResident || !usesHead ? 0 : pages(head, 0..<sliceRows).byteCount)
  }

  /// Bytes that one pass over all layers maps again.
  public var streamedLayerByteCount: Int { layers.dropFirst(residentLayers).reduce(0) { $0 + $1.all.byteCount } }

  /// Bytes that one pass over the vocabulary head maps again.
  public var streamedHeadByteCount: Int {
    isHeadResident || !usesHead ? 0 : MappedPages(head.memory()).byteCount
  }

  /// Bytes of weights that were mapped again so far, here and not by a model that shares them.
  public var streamedByteCount: Int { streamed.load(ordering: .relaxed) }

  /// From now on other models of the same store, by the same strategy, use what is read for this one.
  public func takeTurns(_ turn: WeightTurn) { self.turn.withLock { $0 = turn } }

  /// Waits for the turn of a place.
  /// - Returns: whether its weights are to be read
  private func arrive(_ stage: WeightPlace.Stage, _ order: Int) -> Bool {
    guard let turn = turn.withLock({ $0 }) else { return true }
    return turn.turnstile.pass(turn.member, to: WeightPlace(stage, order))
  }

  /// Whether nobody else waits for the weights that are in use.
  private var isLast: Bool { turn.withLock { $0 }?.turnstile.isLast() ?? true }

  /// A layer's turn begins; `next` is the one after it.
  func enter(_ layer: Int, next: Int) {
    if !stays(layer) {
      let isForth = next > layer
      guard arrive(isForth ? .forward : .backward, isForth ? layer : layers.count - layer) else { return }
      streamed.wrappingAdd(layers[layer].all.byteCount, ordering: .relaxed)
      read(layers[layer].modules)
    }
    if layers.indices.contains(next), !stays(next) { read(layers[next].modules, most: Self.readAheadBytes) }
  }

  private func read(_ parts: [MappedPages], most: Int = .max) {
    Self.reader.async {
      var left = most
      for part in parts where left > 0 {
        part.readAhead(most: left)
        left -= part.byteCount
      }
    }
  }

  /// A layer's turn is over.
  func leave(_ layer: Int) { if !stays(layer), isLast { layers[layer].all.drop() } }

  /// A look-up of rows begins.
  func enterEmbedding(_ rows: [Int32]) {
    if !headStays { read(rows.map { pages(embedding, Int($0)..<Int($0) + 1) }) }
  }

  /// The look-up of a row is over: it goes, and what came with it.
  func leaveEmbedding(_ row: Int) {
    if !headStays { pages(embedding, row..<row + 1).widened(to: Self.folioBytes, within: embedding.memory()).drop() }
  }

  /// The use of some rows of the vocabulary head begins; that of those behind them follows.
  func enterHead(_ rows: Range<Int>, for stage: WeightPlace.Stage) {
    guard !headStays, arrive(stage, rows.lowerBound), usesHead else { return }
    streamed.wrappingAdd(pages(head, rows).byteCount, ordering: .relaxed)
    let next = rows.upperBound..<min(rows.upperBound + rows.count, head.rows)
    read([rows, next].filter { !$0.isEmpty }.map { pages(head, $0) })
  }

  /// The use of some rows of the vocabulary head is over.
  func leaveHead(_ rows: Range<Int>) { if !headStays, isLast { pages(head, rows).drop() } }
}
