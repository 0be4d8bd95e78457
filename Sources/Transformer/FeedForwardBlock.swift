import Kernels

/// A feed-forward network with its norms and residual: `y = x + down(act(gate(n)) * up(n))` or `y = x + down(act(up(n)))`,
/// `n = norm(x)`, and the other places of norms.
///
/// Sources: Shazeer 2020, arXiv 2002.05202 (gates); Hendrycks & Gimpel 2016, arXiv 1606.08415 (GELU).
struct FeedForwardBlock {
  /// How the layers before the activation are made.
  enum Inner {
    /// Two layers: gate, up.
    case gated
    /// One layer: all of the gate, all of the other.
    case fusedGated
    /// One layer, without a gate.
    case plain
  }

  let residual: Residual
  /// Those before the activation.
  let inputs: [Linear]
  let down: Linear
  let inner: Inner
  let activation: Activation

  var linears: [Linear] { inputs + [down] }
  var hasAdapter: Bool { linears.contains(where: \.isHooked) || residual.isHooked }

  /// What `forward` keeps for `backward`.
  struct Activations {
    let residual: Residual.Activations
    let gate: KeptMatrix  // [tokens, intermediate]; empty outside training, and without a gate
    let up: KeptMatrix  // [tokens, intermediate]; empty outside training
    let adapters: [Matrix]  // of `linears`

    func rows(_ range: Range<Int>) -> Self {
      Self(
        residual: residual.rows(range), gate: gate.rows == 0 ? gate : gate.rows(range),
        up: up.rows == 0 ? up : up.rows(range), adapters: adapters.map { $0.rows(range) })
    }
  }

  /// Memory that blocks use one after the other.
  struct Working {
    let residual: Residual.Working
    /// `[tokens, intermediate]` twice; where one layer makes both, they are the halves of one matrix.
    let first: Matrix
    let second: Matrix
    /// The outputs of `inputs`, which `first` and `second` are.
    let outputs: [Matrix]
  }

  private var intermediate: Int { down.location.shape.in }

  func reserve(in room: Room, demand: RoomDemand) -> Activations {
    func wide(_ name: String, isThere: Bool = true) -> KeptMatrix {
      room.keptMatrix(
        name, rows: demand.trains && isThere ? demand.tokens : 0, columns: intermediate, format: demand.wideFormat)
    }
    return Activations(
      residual: residual.reserve(in: room, output: down.location, demand: demand),
      gate: wide("gate", isThere: inner != .plain), up: wide("up"),
      adapters: linears.enumerated().map { index, linear in
        room.matrix(
          "feed-forward's adapter \(index)", rows: demand.tokens, columns: demand.keptColumns(linear.location))
      })
  }

  func share(in room: Room, demand: RoomDemand) -> Working {
    let residual = residual.share(in: room, output: down.location, demand: demand)
    let tokens = demand.tokens
    if inner == .fusedGated {
      let both = room.matrix("gate and up", rows: tokens, columns: 2 * intermediate)
      return Working(
        residual: residual, first: both.columns(0..<intermediate),
        second: both.columns(intermediate..<2 * intermediate), outputs: [both])
    }
    let first = room.matrix("gate and gated product", rows: tokens, columns: intermediate)
    let second = room.matrix("up", rows: inner == .plain && !demand.trains ? 0 : tokens, columns: intermediate)
    return Working(
      residual: residual, first: first, second: second, outputs: inner == .plain ? [first] : [first, second])
  }

  /// Multiply-adds and elements per token.
  func cost() -> BlockCost {
    func size(_ linears: [Linear]) -> Double {
      linears.reduce(0) { $0 + Double($1.location.shape.out * $1.location.shape.in) }
    }
    return BlockCost(
      products: size(linears), productsAgain: residual.needsOutput ? size(linears) : size(inputs),
      elements: Double(2 * intermediate))
  }

  /// On entry `y` holds the block's input, on return its output.
  ///
  /// - Parameters:
  ///   - x: input, `[tokens, hidden]`
  ///   - y: `[tokens, hidden]`; may be `x`
  func forward(_ x: Matrix, into y: Matrix, keeping kept: Activations, in context: BlockContext<Working>) {
    let hidden = activate(x, keeping: kept, in: context)
    down.scaleInput(hidden, pass: context.pass)
    let prepared = down.prepare(hidden, rowsPerSequence: context.layout.rowLength, pass: context.pass)
    residual.output(
      prepared, through: down, of: x, into: y, keeping: kept.residual, adapterKept: kept.adapters[inputs.count],
      working: context.working.residual, pass: context.pass)
  }

  /// What `backward` needs of a layer that kept nothing.
  func recompute(_ x: Matrix, keeping kept: Activations, in context: BlockContext<Working>) {
    if residual.needsOutput {
      // What the last norm sees is an output: all is computed again, and goes nowhere.
      let y = context.working.residual.inner.rows(0..<x.rows)
      VectorOperations.copy(x, into: y, pool: context.pass.engine.pool)
      forward(x, into: y, keeping: kept, in: context)
      return
    }
    guard let adapter = down.adapter, adapter.keptColumns > 0 else {
      project(x, keeping: kept, in: context)
      return
    }
    let hidden = activate(x, keeping: kept, in: context)
    down.scaleInput(hidden, pass: context.pass)
    down.recompute(
      hidden, rowsPerSequence: context.layout.rowLength, keeping: kept.adapters[inputs.count], pass: context.pass)
  }

  /// The outputs of `inputs`.
  private func project(_ x: Matrix, keeping kept: Activations, in context: BlockContext<Working>) {
    let (pass, working) = (context.pass, context.working)
    residual.begin(x, keeping: kept.residual, pass: pass)
    let input = residual.input(x, keeping: kept.residual, working: working.residual, pool: pass.engine.pool)
    let prepared = inputs[0].prepare(input, rowsPerSequence: context.layout.rowLength, pass: pass)
    Linear.forward(
      prepared,
      through: inputs.indices.map { (inputs[$0], working.outputs[$0].rows(0..<x.rows), kept.adapters[$0]) }, pass: pass)
    guard kept.up.rows > 0 else { return }
    if inner == .plain {
      kept.up.store(working.first.rows(0..<x.rows), pool: pass.engine.pool)
    } else {
      kept.gate.store(working.first.rows(0..<x.rows), pool: pass.engine.pool)
      kept.up.store(working.second.rows(0..<x.rows), pool: pass.engine.pool)
    }
  }

  /// - Returns: input of the last product, `[tokens, intermediate]`
  private func activate(_ x: Matrix, keeping kept: Activations, in context: BlockContext<Working>) -> Matrix {
    project(x, keeping: kept, in: context)
    let pool = context.pass.engine.pool
    let hidden = context.working.first.rows(0..<x.rows)
    if inner == .plain {
      activation.apply(hidden, into: hidden, pool: pool)
    } else {
      activation.gate(hidden, up: context.working.second.rows(0..<x.rows), into: hidden, pool: pool)
    }
    return hidden
  }

  /// On entry `dx` is the gradient of the block's output, on return that of its input; parameters as of `AttentionBlock`.
  func backward(
    _ dy: Matrix, addingTo dx: Matrix, x: Matrix, kept: Activations, reachesBelow: Bool,
    in context: BlockContext<Working>
  ) {
    let (pass, working) = (context.pass, context.working)
    let pool = pass.engine.pool
    let tokens = 0..<x.rows
    let dOutput = residual.outputGradient(
      dy, dx: dx, x: x, kept: kept.residual, working: working.residual, pass: pass)
    let (dHidden, hidden) = (working.first.rows(tokens), working.second.rows(tokens))
    if down.adapter != nil {
      if inner == .plain {
        activation.apply(kept.up, into: hidden, pool: pool)
      } else {
        activation.gate(kept.gate, up: kept.up, into: hidden, pool: pool)
      }
    }
    down.backward(dOutput, x: hidden, kept: kept.adapters[inputs.count], into: dHidden, pass: pass)
    if inner == .plain {
      activation.backward(dHidden, x: kept.up, pool: pool)
    } else {
      activation.gateBackward(dHidden, gate: kept.gate, up: kept.up, into: hidden, pool: pool)
    }

    let hasInputAdapter = inputs.contains { $0.adapter != nil }
    let input =
      hasInputAdapter
      ? residual.input(x, keeping: kept.residual, working: working.residual, pool: pool)
      : working.residual.normed.rows(tokens)
    let dNormed = reachesBelow || residual.trainsBefore ? working.residual.normedGradient.rows(tokens) : nil
    Linear.backward(
      through: inputs.indices.map { (inputs[$0], working.outputs[$0].rows(tokens), kept.adapters[$0]) }, x: input,
      into: dNormed, pass: pass)
    if let dNormed { residual.inputGradient(dNormed, x: x, kept: kept.residual, addingTo: dx, pass: pass) }
  }
}
