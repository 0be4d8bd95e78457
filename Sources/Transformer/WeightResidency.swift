import Kernels
import Memory
import Synchronization

/// Which frozen weights stay in memory between passes. The others are read ahead before their turn and dropped behind it:
/// they come from the page cache, or from storage, once in each direction of a step.
public final class WeightResidency: Sendable {
  private let layers: [MappedPages]
  private let head: StoredMatrix
  private let embedding: MappedPages
  private let headIsEmbedding: Bool
  private let residentLayers: Int
  private let isHeadResident: Bool
  private let yields = Atomic<Bool>(false)

  /// Bytes of the vocabulary head that are in memory at a time, where it does not stay.
  private static let sliceBytes = 8 << 20
  /// Rows of a slice where the head stays: their quantised gradients should not be large.
  private static let residentSliceRows = 8192
  /// Rows of the embedding that are looked up before its pages are dropped, where it does not stay.
  static let embeddingTile = 64
  /// What one touched row brings in: the kernel maps 16 pages around a fault.
  private static let faultBytes = 64 << 10

  /// - Parameters:
  ///   - residentLayers: layers, counted from the first, that stay
  ///   - isHeadResident: whether embedding and vocabulary head stay
  public init(model: CausalLanguageModel, residentLayers: Int, isHeadResident: Bool) {
    layers = model.layers.map { layer in MappedPages(LinearModule.allCases.flatMap { layer[$0].weight.memory() }) }
    head = model.head.weight
    embedding = MappedPages(model.embedding.memory())
    headIsEmbedding = model.configuration.tiedEmbeddings
    self.residentLayers = min(residentLayers, layers.count)
    self.isHeadResident = isHeadResident
  }

  /// From now on nothing stays: other programs need the memory.
  public func yieldToOthers() { yields.store(true, ordering: .relaxed) }

  private func stays(_ layer: Int) -> Bool { layer < residentLayers && !yields.load(ordering: .relaxed) }
  private var headStays: Bool { isHeadResident && !yields.load(ordering: .relaxed) }

  /// Bytes of weights that are in memory at the worst moment.
  public var residentByteCount: Int {
    let kept = layers.prefix(residentLayers).reduce(0) { $0 + $1.byteCount }
    let passing = layers.dropFirst(residentLayers).map(\.byteCount).max() ?? 0
    let vocabulary = MappedPages(head.memory()).byteCount + (headIsEmbedding ? 0 : embedding.byteCount)
    if isHeadResident { return kept + passing + vocabulary }
    let slice = MappedPages(head.memory(ofRows: 0..<sliceRows)).byteCount
    let lookup = min(embedding.byteCount, Self.embeddingTile * Self.faultBytes)
    return kept + max(passing, slice + Self.faultBytes, lookup)
  }

  /// Bytes that one pass over all layers maps again.
  public var streamedLayerByteCount: Int { layers.dropFirst(residentLayers).reduce(0) { $0 + $1.byteCount } }

  /// Bytes that one pass over the vocabulary head maps again.
  public var streamedHeadByteCount: Int { isHeadResident ? 0 : MappedPages(head.memory()).byteCount }

  /// A layer's turn begins; `next` is the one after it.
  func enter(_ layer: Int, next: Int) {
    if layers.indices.contains(next), !stays(next) { layers[next].readAhead() }
  }

  /// A layer's turn is over.
  func leave(_ layer: Int) { if !stays(layer) { layers[layer].drop() } }

  /// A look-up of rows is over.
  func leaveEmbedding() { if !headStays { embedding.drop() } }

  /// Rows of the vocabulary head that are used together: a slice as `CrossEntropy` takes it.
  public var sliceRows: Int {
    if isHeadResident { return min(head.rows, Self.residentSliceRows) }
    let rowBytes = max(1, head.memory(ofRows: 0..<1)[0].count)
    let block = CrossEntropy.blockColumns
    return min(head.rows, max(1, Self.sliceBytes / rowBytes / block) * block)
  }

  /// The use of some rows of the vocabulary head begins.
  func enterHead(_ rows: Range<Int>) {
    guard !headStays, rows.upperBound < head.rows else { return }
    MappedPages(head.memory(ofRows: rows.upperBound..<min(rows.upperBound + rows.count, head.rows))).readAhead()
  }

  /// The use of some rows of the vocabulary head is over.
  func leaveHead(_ rows: Range<Int>) { if !headStays { MappedPages(head.memory(ofRows: rows)).drop() } }
}
