import CKernels

/// What stands between the layers of a feed-forward block, alone or as the gate of another product.
public enum Activation: Sendable, CaseIterable {
  /// `x / (1 + exp(-x))`; Elfwing et al. 2017, arXiv 1702.03118.
  case silu
  /// `x` times the normal distribution; Hendrycks & Gimpel 2016, arXiv 1606.08415.
  case gelu
  /// The same with `(1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2` for the normal distribution.
  case geluTanh
  /// `max(x, 0)`
  case relu
  case tanh

  private var kernels: UncheckedPointer<el_activation> {
    let table = KernelTables.float.pointee
    return switch self {
    case .silu: UncheckedPointer(table.silu)
    case .gelu: UncheckedPointer(table.gelu)
    case .geluTanh: UncheckedPointer(table.gelu_tanh)
    case .relu: UncheckedPointer(table.relu)
    case .tanh: UncheckedPointer(table.tanh)
    }
  }

  /// `h = f(x)`, `[rows, columns]`; `h` may be `x`.
  public func apply(_ x: Matrix, into h: Matrix, pool: ThreadPool) {
    precondition(x.rows == h.rows && x.columns == h.columns, "matrices of one shape")
    let kernels = kernels
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      kernels.pointee.alone(x.columns, x.base + row * x.stride, h.base + row * h.stride)
    }
  }

  /// The same of an input that was kept, in floats or halves.
  public func apply(_ x: KeptMatrix, into h: Matrix, pool: ThreadPool) {
    if let x = x.floats { return apply(x, into: h, pool: pool) }
    precondition(x.format == .f16 && x.rows == h.rows && x.columns == h.columns, "matrices of one shape, in halves")
    let kernels = kernels
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      kernels.pointee.alone_half(x.columns, x.codes(row), h.base + row * h.stride)
    }
  }

  /// On entry `dh` is the gradient of `f(x)`, on return that of `x`.
  public func backward(_ dh: Matrix, x: KeptMatrix, pool: ThreadPool) {
    precondition(x.format != .bf16 && x.rows == dh.rows && x.columns == dh.columns, "matrices of one shape")
    let kernels = kernels
    if let x = x.floats { return backward(dh, x: x, pool: pool) }
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      kernels.pointee.backward_half(x.columns, x.codes(row), dh.base + row * dh.stride)
    }
  }

  /// The same of an input in floats.
  public func backward(_ dh: Matrix, x: Matrix, pool: ThreadPool) {
    precondition(x.rows == dh.rows && x.columns == dh.columns, "matrices of one shape")
    let kernels = kernels
    VectorOperations.forEachRow(x.rows, pool: pool) { row in
      kernels.pointee.backward(x.columns, x.base + row * x.stride, dh.base + row * dh.stride)
    }
  }

  /// `h = f(gate) * up`, all `[rows, columns]`; `h` may be `gate` or `up`.
  public func gate(_ gate: Matrix, up: Matrix, into h: Matrix, pool: ThreadPool) {
    precondition(
      gate.rows == up.rows && gate.columns == up.columns && h.rows == up.rows && h.columns == up.columns,
      "matrices of one shape")
    let kernels = kernels
    VectorOperations.forEachRow(gate.rows, pool: pool) { row in
      kernels.pointee.gate(
        gate.columns, gate.base + row * gate.stride, up.base + row * up.stride, h.base + row * h.stride)
    }
  }

  /// The same of a gate that was kept, in floats or halves.
  public func gate(_ gate: KeptMatrix, up: KeptMatrix, into h: Matrix, pool: ThreadPool) {
    if let gate = gate.floats, let up = up.floats { return self.gate(gate, up: up, into: h, pool: pool) }
    precondition(gate.format == .f16 && up.format == .f16, "gate and up are kept alike")
    precondition(
      gate.rows == up.rows && gate.columns == up.columns && h.rows == up.rows && h.columns == up.columns,
      "matrices of one shape")
    let kernels = kernels
    VectorOperations.forEachRow(gate.rows, pool: pool) { row in
      kernels.pointee.gate_half(gate.columns, gate.codes(row), up.codes(row), h.base + row * h.stride)
    }
  }

  /// On entry `dh` is the gradient of `f(gate) * up`, on return that of `gate`; `du` becomes that of `up`.
  public func gateBackward(_ dh: Matrix, gate: KeptMatrix, up: KeptMatrix, into du: Matrix, pool: ThreadPool) {
    precondition(gate.format == up.format && gate.format != .bf16, "gate and up are kept alike")
    if let gate = gate.floats, let up = up.floats {
      return gateBackward(dh, gate: gate, up: up, into: du, pool: pool)
    }
    precondition(
      [up.rows, dh.rows, du.rows].allSatisfy { $0 == gate.rows }
        && [up.columns, dh.columns, du.columns].allSatisfy { $0 == gate.columns }, "matrices of one shape")
    let kernels = kernels
    VectorOperations.forEachRow(gate.rows, pool: pool) { row in
      kernels.pointee.gate_backward_half(
        gate.columns, gate.codes(row), up.codes(row), dh.base + row * dh.stride, du.base + row * du.stride)
    }
  }

  /// The same of a gate in floats.
  public func gateBackward(_ dh: Matrix, gate: Matrix, up: Matrix, into du: Matrix, pool: ThreadPool) {
    precondition(
      [up.rows, dh.rows, du.rows].allSatisfy { $0 == gate.rows }
        && [up.columns, dh.columns, du.columns].allSatisfy { $0 == gate.columns }, "matrices of one shape")
    let kernels = kernels
    VectorOperations.forEachRow(gate.rows, pool: pool) { row in
      kernels.pointee.gate_backward(
        gate.columns, gate.base + row * gate.stride, up.base + row * up.stride, dh.base + row * dh.stride,
        du.base + row * du.stride)
    }
  }
}
