import Kernels
import Memory
import Transformer

extension MachineSpeed {
  /// Measures the speed of a run's products on a part of its model: a fraction of a second, and little memory.
  ///
  /// - Parameter model: a part of one of its largest linear layers is used, as it is stored
  public static func measured(_ model: CausalLanguageModel, precision: Precision, pool: ThreadPool) throws
    -> MachineSpeed
  {
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

    let pages = MappedPages(weight.memory(ofRows: part))

    // Weights that were dropped come back from the page cache or from storage; a few megabytes tell which. Another layer's
    // are used before, so that nothing else happens for the first time.
    let other = model.weight(at: LinearLocation(layer: model.configuration.layerCount - 1, module: .up))
    _ = engine.timeOfProduct(x, other, rows: part, into: y)
    MappedPages(other.memory(ofRows: part)).drop()
    pages.drop()
    let first = engine.timeOfProduct(x, weight, rows: part, into: y)
    var times: [Double] = []
    repeat { times.append(engine.timeOfProduct(x, weight, rows: part, into: y)) } while times.reduce(0, +) < 0.15
    let warm = times.sorted()[times.count / 2]
    let floats =
      (0..<3).map { _ -> Double in
        let start = ContinuousClock.now
        ThinProduct.project(x, thin, into: p, pool: pool)
        return start.duration(to: .now).seconds
      }.min() ?? 1
    pages.drop()
    let multiplyAdds = Double(rows * part.count * weight.columns)
    // decoding weights is worth about 24 rows, as `StepCost` reckons
    let products = multiplyAdds * (1 + 24.0 / Double(rows)) / max(warm, 1e-9)
    return MachineSpeed(
      products: products, floats: Double(rows * weight.columns * 8) / max(floats, 1e-9),
      read: Double(pages.byteCount) / max(first - warm, 1e-6), spill: assumed.spill)
  }
}
