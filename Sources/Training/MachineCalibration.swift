import Kernels
import Memory
import Transformer

extension MachineSpeed {
  /// Measures the speed of a run's products on a part of its model: a fraction of a second, and little memory.
  ///
  /// - Parameters:
  ///   - model: a part of one of its largest linear layers is used, as it is stored
  ///   - cacheHoldsStore: whether dropped weights stay in the page cache, as they do where there is memory for them; if
  ///     not they come from storage every time
  public static func measured(
    _ model: CausalLanguageModel, precision: Precision, cacheHoldsStore: Bool, pool: ThreadPool
  ) throws -> MachineSpeed {
    let rows = 256  // as many as a small micro-batch, so that what is done once for all of them weighs as little
    let weight = model.weight(at: LinearLocation(layer: 0, module: .up))
    let part = 0..<min(weight.rows, 2048)
    let arena = try Arena()
    let engine = ComputeEngine(
      precision: precision, pool: pool,
      demands: [.init(weight: weight, rows: rows, weightRows: part.count, hasGradient: false)], arena: arena)
    let x = arena.matrix("input", kind: .panels, rows: rows, columns: weight.columns)
    let y = arena.matrix("output", kind: .panels, rows: rows, columns: part.count)
    let thin = arena.matrix("thin", kind: .panels, rows: 8, columns: weight.columns)
    let p = arena.matrix("projection", kind: .panels, rows: rows, columns: 8)
    try arena.commit()
    for row in 0..<rows { x.row(row).assign((0..<x.columns).map { Float(($0 * 7 + row) % 13) - 6 }) }

    // The system may need a tenth of a second and more to give each new thread a processor of its own, so the time is that
    // of the better quarter.
    var times: [Double] = []
    repeat { times.append(engine.timeOfProduct(x, weight, rows: part, into: y)) } while times.reduce(0, +) < 0.3
    let warm = times.sorted()[times.count / 4]
    let floats =
      (0..<3).map { _ -> Double in
        let start = ContinuousClock.now
        ThinProduct.project(x, thin, into: p, pool: pool)
        return start.duration(to: .now).seconds
      }.min() ?? 1
    let multiplyAdds = Double(rows * part.count * weight.columns)
    let products = multiplyAdds * (1 + StepCost.decodeRows / Double(rows)) / max(warm, 1e-9)
    return MachineSpeed(
      products: products, floats: Double(rows * weight.columns * 8) / max(floats, 1e-9),
      read: speedOfReading(model, fromStorage: !cacheHoldsStore, pool: pool), spill: assumed.spill)
  }

  /// Bytes per second at which dropped weights come back.
  ///
  /// - Parameter fromStorage: whether they have left the page cache by then
  private static func speedOfReading(_ model: CausalLanguageModel, fromStorage: Bool, pool: ThreadPool) -> Double {
    let pages = sample(of: model)
    let byteCount = Double(pages.reduce(0) { $0 + $1.byteCount })
    func secondsToTouch() -> Double {
      let start = ContinuousClock.now
      for part in pages { part.readAhead() }
      pool.run(pages.count) { part, _ in pages[part].touch() }
      return start.duration(to: .now).seconds
    }
    for part in pages { fromStorage ? part.evict() : part.drop() }
    var seconds = secondsToTouch()
    if !fromStorage {
      // The first time brought the pages into the page cache, where a run will find them.
      seconds =
        (0..<5).map { _ in
          for part in pages { part.drop() }
          return secondsToTouch()
        }.sorted()[2]
    }
    for part in pages { part.drop() }
    return byteCount / max(seconds, 1e-9)
  }

  /// A few megabytes from all over the store: a slow card reads no more in a fraction of a second.
  private static func sample(of model: CausalLanguageModel) -> [MappedPages] {
    let layers = model.configuration.layerCount
    let (pieceBytes, pieces) = (256 << 10, 16)
    return (0..<pieces).map { piece in
      let weight = model.weight(at: LinearLocation(layer: piece * layers / pieces, module: .up))
      let rowBytes = max(1, weight.memory(ofRows: 0..<1)[0].count)
      return MappedPages(weight.memory(ofRows: 0..<min(weight.rows, max(1, pieceBytes / rowBytes))))
    }
  }
}
