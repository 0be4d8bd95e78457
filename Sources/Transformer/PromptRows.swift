import Architectures
import Kernels

/// Rows in front of the embedded text, as wide as the embedding, and where their gradient goes.
public struct PromptRows {
  let rows: Matrix  // [virtual tokens, hidden]
  let gradient: Matrix?

  /// - Parameters:
  ///   - rows: `[virtual tokens, hidden]`
  ///   - gradient: of the same shape; `nil` where nothing is trained
  public init(_ rows: Matrix, gradient: Matrix?) {
    self.rows = rows
    self.gradient = gradient
  }
}

/// What a method has hooked into the embedding; shared by all copies of it.
final class EmbeddingHooks {
  var prompt: PromptRows?
  var tokens: TokenRows?
  /// In place of the whole table.
  var table: TrainedTable?

  /// What stands for an id in place of the embedding's row, where its gradient goes, and whether it is scaled as that is.
  func row(_ id: Int32) -> (values: Vector, gradient: Vector?, isScaled: Bool)? {
    guard let row = VirtualToken.row(id) else {
      return (table?.row(id) ?? tokens?.row(id)).map { ($0.values, $0.gradient, true) }
    }
    guard let prompt else { preconditionFailure("virtual rows for virtual tokens") }
    return (prompt.rows.row(row), prompt.gradient?.row(row), false)
  }
}

extension Embedding {
  /// Memory for the gradient of one virtual row through the norm: its input, output and gradient.
  static let promptWorkingRows = 3

  /// Whether anything in front of the layers is trained.
  var isTrained: Bool { projection?.adapter != nil || trainsRows || norm?.isTrained == true }

  private var trainsRows: Bool {
    hooks.prompt?.gradient != nil || hooks.tokens?.isTrained == true || hooks.table?.gradient != nil
  }

  /// Adds the gradients of the virtual rows and the tokens' own rows of a micro-batch, sample after sample; and with a norm
  /// whose weights are trained the gradient of those, for which every row is made again.
  ///
  /// - Parameter dx: gradient of what `lookUp` made, `[tokens, hidden]`
  func addRowGradients(_ dx: Matrix, _ batch: MicroBatch, working: Working, pool: ThreadPool) {
    let trainsNorm = norm?.weightGradient != nil
    guard trainsRows || trainsNorm else { return }
    for (place, id) in batch.tokens.enumerated() {
      let row = hooks.row(id)
      guard let norm, let statistics = working.statistics else {
        guard let row, let target = row.gradient else { continue }
        VectorOperations.add(dx.row(place), scaledBy: row.isScaled ? scale : 1, to: target)
        continue
      }
      guard row?.gradient != nil || trainsNorm else { continue }
      let factor = row?.isScaled ?? true ? scale : 1
      let (x, y, d) = (working.prompt.rows(0..<1), working.prompt.rows(1..<2), working.prompt.rows(2..<3))
      if let row { x.row(0).copy(row.values) } else { tokens.decodeRow(Int(id), into: x.row(0)) }
      if factor != 1 { VectorOperations.scale(x.row(0), by: factor) }
      addPosition(place, typeIDs: batch.typeIDs, layout: batch.layout, to: x.row(0), working: working)
      norm.forward(x, into: y, keeping: statistics.rows(0..<1), pool: pool)
      let (dy, own) = (dx.rows(place..<place + 1), statistics.rows(0..<1))
      norm.addWeightGradient(dy, x: x, statistics: own, rowLength: 1, pool: pool)
      guard let target = row?.gradient else { continue }
      VectorOperations.fill(d, with: 0)
      norm.backward(dy, x: x, statistics: own, addingTo: d, rowLength: nil, pool: pool)
      VectorOperations.add(d.row(0), scaledBy: factor, to: target)
    }
  }
}

extension LanguageModel {
  /// Puts rows in front of the embedded text; in batches they stand as ids of `VirtualToken`.
  public func setPrompt(_ rows: PromptRows?) { embedding.hooks.prompt = rows }

  /// Whether embedded text goes into the layers as it is, perhaps normalised.
  public var embedsPlainly: Bool { embedding.projection == nil }

  /// The embedded token, `[hidden]`, without position and type.
  public func embeddedToken(_ id: Int32) -> [Float] {
    var values = [Float](repeating: 0, count: embedding.tokens.columns)
    values.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      embedding.tokens.decodeRow(Int(id), into: Vector(base, count: buffer.count))
    }
    return embedding.scale == 1 ? values : values.map { $0 * embedding.scale }
  }

  /// Entries of the vocabulary.
  public var vocabularySize: Int { embedding.tokens.rows }

  /// Reads a text and hands over every layer's keys and values as its attention sees them: normalised and rotated.
  ///
  /// - Parameters:
  ///   - tokens: at most as many as a micro-batch has
  ///   - body: gets what is valid until it returns, `[tokens, heads * head size]` each
  public func keysAndValues(
    of tokens: [Int32], workspace: Workspace, pass: Pass,
    _ body: (_ layer: Int, _ key: HeadMatrix, _ value: HeadMatrix)
      -> Void
  ) {
    precondition(!tokens.isEmpty && tokens.count <= workspace.tokenCapacity, "as many tokens as the workspace holds")
    let layout = SequenceLayout(rowLength: tokens.count, segments: [0, tokens.count])
    var pass = pass
    pass.rowLength = tokens.count
    let x = workspace.residual.rows(0..<tokens.count)
    embedding.lookUp(tokens, layout: layout, into: x, working: workspace.embedding, workspace: workspace, pass: pass)
    for (index, layer) in layers.enumerated() {
      workspace.residency.enter(index, next: index + 1)
      layer.forward(
        x,
        in: TransformerLayer.Context(
          tokens: 0..<tokens.count, layout: layout, memory: workspace.layers[index], workspace: workspace, pass: pass))
      let made = layer.attention.keysAndValues(workspace.layers[index].attention(0..<tokens.count))
      body(index, made.key, made.value)
      workspace.residency.leave(index)
    }
  }
}
