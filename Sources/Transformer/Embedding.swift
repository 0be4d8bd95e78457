import Architectures
import Kernels

/// From tokens to the first rows of the residual stream, `norm(projection(scale * tokens[t]) + positions[p] + types[s])`;
/// frozen, but for an adapter at the projection, and rows that a method puts in front of the text.
struct Embedding {
  let tokens: StoredMatrix  // [vocabulary, width]
  let scale: Float
  let positions: (table: StoredMatrix, offset: Int)?
  let types: StoredMatrix?
  let norm: Norm?
  let projection: Linear?
  /// What a method has hooked in.
  let hooks = EmbeddingHooks()

  /// Memory of a look-up.
  struct Working {
    let rows: Matrix  // [tokens, width] where there is a projection; else empty
    let adapter: Matrix  // what its adapter keeps
    let addend: Vector  // [hidden]: a row of positions or types
    let statistics: NormStatistics?
    let prompt: Matrix  // rows for the way back through the norm; empty without one
  }

  func share(in room: Room, hidden: Int, demand: RoomDemand) -> Working {
    Working(
      rows: room.matrix("embedded tokens", rows: projection == nil ? 0 : demand.tokens, columns: tokens.columns),
      adapter: room.matrix(
        "projection's adapter", rows: demand.tokens, columns: projection.map { demand.keptColumns($0.location) } ?? 0),
      addend: room.vector("position", count: positions == nil && types == nil ? 0 : hidden),
      statistics: norm?.reserve("embedding", in: room, tokens: demand.tokens),
      prompt: room.matrix(
        "virtual rows around the norm", rows: norm != nil && demand.trains ? Self.promptWorkingRows : 0, columns: hidden
      ))
  }

  /// `x` becomes the rows of a micro-batch: touches only the pages of the rows that occur.
  ///
  /// - Parameter typeIDs: type of each token; empty if all are 0
  func lookUp(
    _ batch: [Int32], typeIDs: [Int32] = [], layout: SequenceLayout, into x: Matrix, working: Working,
    workspace: Workspace, pass: Pass
  ) {
    let pool = pass.engine.pool
    let target = projection == nil ? x : working.rows.rows(0..<x.rows)
    decode(batch, into: target, residency: workspace.residency)
    if let projection {
      let prepared = pass.engine.prepare(target, for: projection.weight, rowsPerSequence: layout.rowLength)
      projection.forward(prepared, into: x, keeping: working.adapter.rows(0..<x.rows), pass: pass)
    }
    for row in 0..<x.rows {
      addPosition(row, typeIDs: typeIDs, layout: layout, to: x.row(row), working: working)
    }
    if let norm, let statistics = working.statistics {
      norm.forward(x, into: x, keeping: statistics.rows(0..<x.rows), pool: pool)
    }
  }

  /// Adds what tells a token's position and type.
  ///
  /// - Parameter place: of the token in its micro-batch
  func addPosition(
    _ place: Int, typeIDs: [Int32], layout: SequenceLayout, to x: Vector, working: Working
  ) {
    if let positions {
      positions.table.decodeRow(Int(layout.positions[place]) + positions.offset, into: working.addend)
      VectorOperations.add(working.addend, scaledBy: 1, to: x)
    }
    if let types {
      types.decodeRow(typeIDs.isEmpty ? 0 : Int(typeIDs[place]), into: working.addend)
      VectorOperations.add(working.addend, scaledBy: 1, to: x)
    }
  }

  private func decode(_ batch: [Int32], into x: Matrix, residency: WeightResidency) {
    if hooks.table == nil { residency.enterEmbedding(hooks.prompt == nil ? batch : batch.filter { $0 >= 0 }) }
    for (place, id) in batch.enumerated() {
      let own = hooks.row(id)
      if let own {
        x.row(place).copy(own.values)
      } else {
        tokens.decodeRow(Int(id), into: x.row(place))
        residency.leaveEmbedding(Int(id))
      }
      if scale != 1, own?.isScaled != false { VectorOperations.scale(x.row(place), by: scale) }
    }
  }

  /// The way back to the projection's adapter, and to rows that are trained.
  ///
  /// - Parameter dx: gradient of what `lookUp` made, `[tokens, hidden]`
  func backward(_ dx: Matrix, _ batch: MicroBatch, working: Working, workspace: Workspace, pass: Pass) {
    norm?.addBiasGradient(dx, rowLength: pass.rowLength, pool: pass.engine.pool)
    addRowGradients(dx, batch, working: working, pool: pass.engine.pool)
    guard let projection, let adapter = projection.adapter else { return }
    precondition(norm == nil, "no norm stands between a projection and the layers")
    let rows = working.rows.rows(0..<dx.rows)
    let kept = working.adapter.rows(0..<dx.rows)
    decode(batch.tokens, into: rows, residency: workspace.residency)
    projection.recompute(rows, rowsPerSequence: pass.rowLength, keeping: kept, pass: pass)
    _ = adapter.backward(dx, isFree: false, x: rows, kept: kept, pass: pass)
  }
}
