import FoundationEssentials
import Glibc
import Kernels
import Memory
import Transformer

extension MachineSpeed {
  /// Measures the speed of a run's products on a part of its model, of its weights' return and of a spill file: a fraction
  /// of a second, and little memory.
  ///
  /// - Parameters:
  ///   - model: a part of one of its largest linear layers is used, as it is stored
  ///   - spillDirectory: where layer inputs would go
  ///   - cacheHoldsFiles: whether dropped weights and layer inputs stay in the page cache, as they do where there is memory
  ///     for them; if not they come from storage every time
  public static func measured(
    _ model: LanguageModel, precision: Precision, spillDirectory: String, cacheHoldsFiles: Bool, pool: ThreadPool
  ) throws -> MachineSpeed {
    let weight = model.largestWeight(ofLayer: 0)
    let part = 0..<min(weight.rows, mostWeightRows)
    let (arena, made) = try Arena.filled { Products(weight: weight, precision: precision, pool: pool, arena: $0) }
    defer { withExtendedLifetime(arena) {} }
    let (engine, x, y, thin, p) = (made.engine, made.x, made.y, made.thin, made.p)
    for row in 0..<rows { x.row(row).assign((0..<x.columns).map { Float(($0 * 7 + row) % 13) - 6 }) }

    let product = secondsOf(after: 0.15, for: 0.3) { engine.product(x, weight, rows: part, into: y) }
    let projection = secondsOf(for: 0.05) { ThinProduct.project(x, thin, into: p, pool: pool) }
    let multiplyAdds = Double(rows * part.count * weight.columns)
    return MachineSpeed(
      products: multiplyAdds * (1 + StepCost.decodeRows / Double(rows)) / product,
      floats: Double(rows * weight.columns * 8) / projection,
      read: speedOfReading(model, fromStorage: !cacheHoldsFiles, pool: pool),
      spill: (try? speedOfSpilling(in: spillDirectory, toStorage: !cacheHoldsFiles)) ?? assumed.spill)
  }

  // As many as a small micro-batch, so that what is done once for all of them weighs as little.
  private static let rows = 256
  private static let mostWeightRows = 2048

  /// The products that are measured.
  private struct Products {
    let engine: ComputeEngine
    let x: Matrix
    let y: Matrix
    let thin: Matrix
    let p: Matrix

    init(weight: StoredMatrix, precision: Precision, pool: ThreadPool, arena: Arena) {
      let weightRows = min(weight.rows, mostWeightRows)
      engine = ComputeEngine(
        precision: precision, pool: pool,
        demands: [.init(weight: weight, rows: rows, weightRows: weightRows, hasGradient: false)], arena: arena)
      x = arena.matrix("input", kind: .panels, rows: rows, columns: weight.columns)
      y = arena.matrix("output", kind: .panels, rows: rows, columns: weightRows)
      thin = arena.matrix("thin", kind: .panels, rows: 8, columns: weight.columns)
      p = arena.matrix("projection", kind: .panels, rows: rows, columns: 8)
    }
  }

  /// Bytes of memory that measuring takes for a moment.
  public static func measuringByteCount(_ model: LanguageModel, precision: Precision, pool: ThreadPool) -> Int {
    let weight = model.largestWeight(ofLayer: 0)
    let arena = Arena.counting
    _ = Products(weight: weight, precision: precision, pool: pool, arena: arena)
    let part = weight.memory(ofRows: 0..<min(weight.rows, mostWeightRows)).reduce(0) { $0 + $1.count }
    return arena.byteCount + part + pieces * pieceBytes + (2 << 20)
  }

  // A few megabytes from all over the store: a slow card reads no more in a fraction of a second.
  private static let pieces = 16
  private static let pieceBytes = 256 << 10

  private static func seconds(_ work: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    try work()
    return max(start.duration(to: .now) / .seconds(1), 1e-9)
  }

  /// Seconds that `work` takes when it is repeated: the median.
  ///
  /// - Parameters:
  ///   - warmUp: seconds before those that count: the system may need some time to give each new thread a processor of its
  ///     own
  ///   - duration: seconds that count
  private static func secondsOf(after warmUp: Double = 0, for duration: Double, _ work: () -> Void) -> Double {
    var left = warmUp
    while left > 0 { left -= seconds(work) }
    var times: [Double] = []
    repeat { times.append(seconds(work)) } while times.reduce(0, +) < duration
    return median(of: times)
  }

  private static func median(of values: [Double]) -> Double { values.sorted()[values.count / 2] }

  /// Bytes per second of a good memory card, for a store that cannot be taken out of the page cache to measure it.
  private static let slowStorage = 1e8

  /// Bytes per second at which weights come back and are dropped again.
  ///
  /// - Parameter fromStorage: whether they have left the page cache by then
  private static func speedOfReading(_ model: LanguageModel, fromStorage: Bool, pool: ThreadPool) -> Double {
    var pages = sample(of: model)
    for part in pages { fromStorage ? part.evict() : part.drop() }
    if fromStorage {
      // A file that was just written stays in the page cache until the storage has it.
      pages = pages.filter { $0.cachedByteCount == 0 }
      if pages.isEmpty { return slowStorage }
    }
    let byteCount = Double(pages.reduce(0) { $0 + $1.byteCount })
    func secondsOfTurn() -> Double {
      seconds {
        for part in pages { part.readAhead() }
        pool.run(pages.count) { [pages] part, _ in pages[part].touch() }
        for part in pages { part.drop() }
      }
    }
    let first = secondsOfTurn()
    if fromStorage { return byteCount / first }
    // The first time brought the pages into the page cache, where a run will find them.
    return byteCount / median(of: (0..<5).map { _ in secondsOfTurn() })
  }

  /// Bytes per second at which layer inputs go to a file and come from it.
  ///
  /// - Parameter toStorage: whether the page cache has no room for the file
  private static func speedOfSpilling(in directory: String, toStorage: Bool) throws -> Double {
    var folder = URL(fileURLWithPath: directory)
    while folder.path != "/", !FileManager.default.fileExists(atPath: folder.path) { folder.deleteLastPathComponent() }
    let file = SpillFile(directory: folder.path)
    let piece = [UInt8](repeating: 1, count: 256 << 10)
    var copy = piece
    let pieces = 16
    func secondsOfTurn() throws -> Double {
      try seconds {
        for index in 0..<pieces { try piece.withUnsafeBytes { try file.write($0, at: index * piece.count) } }
        if toStorage { try file.synchronize() }
        for index in 0..<pieces { try copy.withUnsafeMutableBytes { try file.read(into: $0, at: index * piece.count) } }
      }
    }
    let time = try toStorage ? secondsOfTurn() : median(of: (0..<5).map { _ in try secondsOfTurn() })
    return Double(2 * pieces * piece.count) / time
  }

  private static func sample(of model: LanguageModel) -> [MappedPages] {
    let layers = model.layers.count
    return (0..<pieces).map { piece in
      let weight = model.largestWeight(ofLayer: piece * layers / pieces)
      let rowBytes = max(1, weight.memory(ofRows: 0..<1)[0].count)
      return MappedPages(weight.memory(ofRows: 0..<min(weight.rows, max(1, pieceBytes / rowBytes))))
    }
  }
}

extension LanguageModel {
  /// Of the weights of a layer the first of those with the most rows.
  fileprivate func largestWeight(ofLayer index: Int) -> StoredMatrix {
    let weights = layers[index].linears.map(\.weight)
    return weights.reduce(weights[0]) { $1.rows > $0.rows ? $1 : $0 }
  }
}
