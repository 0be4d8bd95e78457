import Architectures
import Glibc
import Kernels
import Memory
import WeightStore

/// A dense layer of a head with labels, in floats: `activation(x Wᵀ + b)`. Its parameters are the checkpoint's, or those of
/// whoever trains them.
public final class LabelLayer {
  public let path: String
  public let outputSize: Int
  public let inputSize: Int
  public let hasBias: Bool
  let activation: LabelHeadDescription.Activation
  /// Whether the checkpoint has the layer's parameters.
  public let isInCheckpoint: Bool
  /// `[out, in]`
  public let weight: Matrix
  /// `[1, out]`
  public let bias: Matrix?
  private var trained: Trained?

  /// Parameters that are trained, and their gradients; those are empty where they are only used.
  public struct Trained {
    let weight: Matrix  // [out, in]
    let weightGradient: Matrix
    let bias: Matrix?  // [1, out]
    let biasGradient: Matrix?

    public init(weight: Matrix, weightGradient: Matrix, bias: Matrix?, biasGradient: Matrix?) {
      self.weight = weight
      self.weightGradient = weightGradient
      self.bias = bias
      self.biasGradient = biasGradient
    }
  }

  init(_ part: LabelHeadDescription.Layer, weight: Matrix, bias: Matrix?, isInCheckpoint: Bool) {
    path = part.linear.path
    outputSize = part.linear.outputSize
    inputSize = part.linear.inputSize
    hasBias = part.linear.bias != nil
    activation = part.activation
    self.weight = weight
    self.bias = bias
    self.isInCheckpoint = isInCheckpoint
  }

  /// Computes with `trained` from now on; with the checkpoint's parameters if `nil`.
  public func use(_ trained: Trained?) { self.trained = trained }

  /// Whether there is something to compute with.
  var isReady: Bool { isInCheckpoint || trained != nil }

  /// - Parameters:
  ///   - x: `[rows, in]`
  ///   - y: `[rows, out]`
  func forward(_ x: Matrix, into y: Matrix, pool: ThreadPool) {
    ThinProduct.project(x, trained?.weight ?? weight, into: y, pool: pool)
    if let bias = trained == nil ? bias : trained?.bias { VectorOperations.addBias(bias.row(0), to: y, pool: pool) }
    activation.apply(to: y)
  }

  /// On entry `dy` is the gradient of the output, on return that of the sum before the activation.
  ///
  /// - Parameters:
  ///   - y: what `forward` made
  ///   - dx: gradient of the input; `nil` if nobody needs it
  func backward(_ dy: Matrix, y: Matrix, x: Matrix, into dx: Matrix?, pool: ThreadPool) {
    activation.differentiate(dy, y: y)
    if let trained, trained.weightGradient.rows > 0 {
      // Row by row, so that the sum does not depend on how many come together.
      ThinProduct.weightGradient(dy, x, addingTo: trained.weightGradient, rowLength: 1, pool: pool)
      if let gradient = trained.biasGradient {
        for row in 0..<dy.rows { VectorOperations.add(dy.row(row), scaledBy: 1, to: gradient.row(0)) }
      }
    }
    guard let dx else { return }
    let weight = trained?.weight ?? weight
    VectorOperations.fill(dx, with: 0)
    pool.run(dy.rows, as: .head) { row, _ in
      for (column, value) in dy.row(row).values.enumerated() {
        VectorOperations.add(weight.row(column), scaledBy: value, to: dx.row(row))
      }
    }
  }
}

extension LabelHeadDescription.Activation {
  func apply(to y: Matrix) {
    guard self != .none else { return }
    for row in 0..<y.rows { y.row(row).assign(y.row(row).values.map { self == .relu ? max($0, 0) : Glibc.tanh($0) }) }
  }

  /// Turns the gradient of the output `y` into that of the input.
  func differentiate(_ dy: Matrix, y: Matrix) {
    guard self != .none else { return }
    for row in 0..<dy.rows {
      let pairs = zip(dy.row(row).values, y.row(row).values)
      dy.row(row).assign(
        self == .relu
          ? pairs.map { (dy: Float, y: Float) -> Float in y > 0 ? dy : 0 }
          : pairs.map { (dy: Float, y: Float) -> Float in dy * (1 - y * y) })
    }
  }
}

/// From hidden states to a number for each label of a text or token: norm and frozen projection, as far as the model has
/// them, then dense layers. Only rows with a label are computed.
public final class LabelHead {
  let norm: Norm?
  /// BERT's pooler, or OPT's projection to the width of its embedding.
  let projection: Linear?
  let projectionActivation: LabelHeadDescription.Activation
  public let layers: [LabelLayer]
  let labelling: Labelling
  /// What training minimises.
  public var loss: LabelLoss

  init(norm: Norm?, projection: Linear?, description: LabelHeadDescription, layers: [LabelLayer]) {
    self.norm = norm
    self.projection = projection
    projectionActivation = description.projectionActivation
    self.layers = layers
    labelling = description.labelling
    loss = LabelLoss(problem: description.labelling.problem)
  }

  /// Whether all layers have parameters.
  public var isReady: Bool { layers.allSatisfy(\.isReady) }

  /// Working memory of a chunk of rows.
  struct Buffers {
    let hidden: Matrix  // [rows, hidden]
    let normed: Matrix  // [rows, hidden]
    let statistics: NormStatistics?
    let projected: Matrix  // [rows, in of the first layer]; empty without a projection
    let projectionKept: Matrix  // what its adapter keeps
    let outputs: [Matrix]  // of the layers, [rows, out]
    let inputGradients: [Matrix]  // of the layers, [rows, in]; empty without a way back
    let hiddenGradient: Matrix  // [rows, hidden], likewise
    let normedGradient: Matrix  // [rows, hidden], likewise

    init(rows: Int, head: LabelHead, hiddenSize: Int, keptColumns: Int, trains: Bool, arena: Arena) {
      func matrix(_ name: String, _ rows: Int, _ columns: Int) -> Matrix {
        arena.matrix(name, kind: .head, rows: rows, columns: columns)
      }
      let back = trains ? rows : 0
      hidden = matrix("head input", rows, hiddenSize)
      normed = matrix("head input, normalised", rows, hiddenSize)
      statistics = head.norm?.reserve("head", in: Room(arena, kind: .head), tokens: rows)
      let projectedRows = head.projection == nil ? 0 : rows
      projected = matrix("head input, projected", projectedRows, head.layers[0].inputSize)
      projectionKept = matrix("adapter of the head's projection", projectedRows, keptColumns)
      outputs = head.layers.map { matrix("output of \($0.path)", rows, $0.outputSize) }
      inputGradients = head.layers.map { matrix("gradient of the input of \($0.path)", back, $0.inputSize) }
      hiddenGradient = matrix("gradient of the head's input", back, hiddenSize)
      normedGradient = matrix("gradient of the head's normalised input", head.norm == nil ? 0 : back, hiddenSize)
    }
  }

  /// Rows with a label that are computed together.
  private struct Chunk {
    let tokens: [Int]
    let labels: [Int32]
    let targets: ArraySlice<Float>
    /// Rows with a label before it.
    let first: Int
  }

  private func chunks(_ batches: [MicroBatch], size: Int) -> [Chunk] {
    var chunks: [Chunk] = []
    var (firstToken, done) = (0, 0)
    let width = labelling.labels.count
    for batch in batches {
      let tokens = batch.labels.indices.filter { batch.labels[$0] != Label.ignored }
      for first in stride(from: 0, to: tokens.count, by: size) {
        let part = tokens[first..<min(first + size, tokens.count)]
        let targets = batch.targets.isEmpty ? [] : batch.targets[first * width..<(first + part.count) * width]
        chunks.append(
          Chunk(
            tokens: part.map { firstToken + $0 }, labels: part.map { batch.labels[$0] }, targets: targets,
            first: done + first))
      }
      done += tokens.count
      firstToken += batch.labels.count
    }
    return chunks
  }

  /// Sum of the losses of all rows with a label.
  ///
  /// - Parameters:
  ///   - x: output of the last layer, `[tokens of all micro-batches, hidden]`
  ///   - observe: gets what the head says of the rows with a label, `[rows, labels]`, in their order
  func loss(
    _ x: Matrix, _ batches: [MicroBatch], buffers: Buffers, pass: Pass, observe: ((Matrix) -> Void)? = nil
  ) -> Double {
    chunks(batches, size: buffers.hidden.rows).reduce(0.0) { sum, chunk in
      let logits = forward(x, chunk, buffers, pass: projectionPass(pass, chunk, firstLabel: 0))
      observe?(logits)
      return sum + loss.sum(logits, labels: chunk.labels, targets: chunk.targets, gradientScale: nil)
    }
  }

  /// The same sum; `x` becomes the gradient of `gradientScale` times it, and the layers' gradients grow by theirs.
  ///
  /// - Parameter firstLabel: labels of the step before these
  func lossAndGradient(
    _ x: Matrix, _ batches: [MicroBatch], gradientScale: Float, firstLabel: Int, buffers: Buffers, pass: Pass
  ) -> Double {
    let chunks = chunks(batches, size: buffers.hidden.rows)
    var sum = 0.0
    for chunk in chunks {
      let pass = projectionPass(pass, chunk, firstLabel: firstLabel)
      let logits = forward(x, chunk, buffers, pass: pass)
      sum += loss.sum(logits, labels: chunk.labels, targets: chunk.targets, gradientScale: gradientScale)
      VectorOperations.scatterRows(
        backward(chunk, buffers, pass: pass), to: chunk.tokens, of: x, pool: pass.engine.pool)
    }
    let labelled = Set(chunks.flatMap(\.tokens))
    for token in 0..<x.rows where !labelled.contains(token) { VectorOperations.fill(x.row(token), with: 0) }
    return sum
  }

  /// Every row by itself: neither outlier columns nor masks nor sums depend on the chunks.
  private func projectionPass(_ pass: Pass, _ chunk: Chunk, firstLabel: Int) -> Pass {
    var own = Pass(engine: pass.engine, dropoutSeed: pass.dropoutSeed, firstToken: firstLabel + chunk.first)
    own.rowLength = 1
    return own
  }

  private func forward(_ x: Matrix, _ chunk: Chunk, _ buffers: Buffers, pass: Pass) -> Matrix {
    let rows = 0..<chunk.tokens.count
    let pool = pass.engine.pool
    let hidden = buffers.hidden.rows(rows)
    VectorOperations.gatherRows(of: x, at: chunk.tokens, into: hidden, pool: pool)
    let normed = buffers.normed.rows(rows)
    if let norm, let statistics = buffers.statistics {
      norm.forward(hidden, into: normed, keeping: statistics.rows(rows), pool: pool)
    } else {
      VectorOperations.copy(hidden, into: normed, pool: pool)
    }
    if let projection {
      let projected = buffers.projected.rows(rows)
      projection.forward(
        pass.engine.prepare(normed, for: projection.weight, rowsPerSequence: 1), into: projected,
        keeping: buffers.projectionKept.rows(rows), pass: pass)
      projectionActivation.apply(to: projected)
    }
    for (index, layer) in layers.enumerated() {
      layer.forward(input(of: index, buffers, rows), into: buffers.outputs[index].rows(rows), pool: pool)
    }
    return buffers.outputs[layers.count - 1].rows(rows)
  }

  private func input(of layer: Int, _ buffers: Buffers, _ rows: Range<Int>) -> Matrix {
    if layer > 0 { return buffers.outputs[layer - 1].rows(rows) }
    return (projection == nil ? buffers.normed : buffers.projected).rows(rows)
  }

  /// On entry the last layer's output holds its gradient.
  /// - Returns: the gradient of the gathered rows
  private func backward(_ chunk: Chunk, _ buffers: Buffers, pass: Pass) -> Matrix {
    let rows = 0..<chunk.tokens.count
    let pool = pass.engine.pool
    var dy = buffers.outputs[layers.count - 1].rows(rows)
    for (index, layer) in layers.enumerated().reversed() {
      let dx = buffers.inputGradients[index].rows(rows)
      layer.backward(
        dy, y: buffers.outputs[index].rows(rows), x: input(of: index, buffers, rows), into: dx, pool: pool)
      dy = dx
    }
    if let projection {
      projectionActivation.differentiate(dy, y: buffers.projected.rows(rows))
      let dNormed = buffers.hiddenGradient.rows(rows)
      projection.backward(
        dy, x: buffers.normed.rows(rows), kept: buffers.projectionKept.rows(rows), into: dNormed, pass: pass)
      dy = dNormed
    }
    guard let norm, let statistics = buffers.statistics else { return dy }
    let dHidden = buffers.normedGradient.rows(rows)
    VectorOperations.fill(dHidden, with: 0)
    norm.backward(
      dy, x: buffers.hidden.rows(rows), statistics: statistics.rows(rows), addingTo: dHidden,
      rowLength: pass.rowLength, pool: pool)
    return dHidden
  }
}
