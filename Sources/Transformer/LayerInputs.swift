import Kernels
import Memory

/// The inputs of all layers, from the forward to the backward pass, in one of the ways of `LayerInputFormat`.
final class LayerInputs {
  private let format: LayerInputFormat
  private let tokens: Int
  private let hiddenSize: Int
  private let kept: [KeptMatrix]  // f32, bf16: [tokens, hidden] per layer
  private let packed: [Scratch]  // int8: the rows of a layer
  private let file: SpillFile?
  private let staging: Matrix  // [staged tokens, hidden]; empty for f32

  /// Columns that share a scale in `int8`.
  private static let block = 32

  /// - Parameters:
  ///   - tokens: of the rows that live at the same time
  ///   - stagedTokens: the most that `load` is asked for
  ///   - spillDirectory: where `spilled` makes its file, which has no name and goes with the process
  init(
    format: LayerInputFormat, layerCount: Int, tokens: Int, stagedTokens: Int, hiddenSize: Int, spillDirectory: String,
    arena: Arena
  ) {
    self.format = format
    self.tokens = tokens
    self.hiddenSize = hiddenSize
    kept =
      format == .f32 || format == .bf16
      ? (0..<layerCount).map {
        Room(arena, kind: .activations).keptMatrix(
          "input of layer \($0)", rows: tokens, columns: hiddenSize, format: format == .f32 ? .f32 : .bf16)
      } : []
    packed =
      format == .int8
      ? (0..<layerCount).map {
        let byteCount = tokens * Self.int8RowByteCount(hiddenSize)
        return Scratch(
          arena.allocate("input of layer \($0), int8", kind: .activations, byteCount: byteCount), byteCount: byteCount)
      } : []
    file = format == .spilled ? SpillFile(directory: spillDirectory) : nil
    staging = arena.matrix(
      "input of a layer, read back", kind: .activations, rows: format == .f32 ? 0 : stagedTokens, columns: hiddenSize)
  }

  /// Bytes of a layer's input that the page cache holds on their way to the file.
  var passingByteCount: Int { file == nil ? 0 : tokens * hiddenSize * MemoryLayout<Float>.stride }

  private static func int8RowByteCount(_ hiddenSize: Int) -> Int {
    let blocks = (hiddenSize + block - 1) / block
    return blocks * block + blocks * 4
  }

  /// Keeps `x`, `[rows, hidden]`, as the input of `layer` from token `first` on.
  /// - Throws: `SpillError` when the file cannot take it
  func save(_ x: Matrix, layer: Int, first: Int, pool: ThreadPool) throws {
    switch format {
    case .f32, .bf16: kept[layer].rows(first..<first + x.rows).store(x, pool: pool)
    case .spilled: try file?.write(UnsafeRawBufferPointer(Self.bytes(of: x)), at: offset(layer, first))
    case .int8:
      let rowBytes = Self.int8RowByteCount(hiddenSize)
      RowCodec.encodeInt8(
        x, block: Self.block, into: packed[layer].base + first * rowBytes, rowByteCount: rowBytes, pool: pool)
    }
  }

  /// The input of `layer`, `[range.count, hidden]`; valid until the next call.
  func load(layer: Int, _ range: Range<Int>, pool: ThreadPool) throws -> Matrix {
    if format == .f32, let exact = kept[layer].rows(range).floats { return exact }
    let x = staging.rows(0..<range.count)
    switch format {
    case .f32, .bf16: kept[layer].rows(range).load(into: x, pool: pool)
    case .spilled: try file?.read(into: Self.bytes(of: x), at: offset(layer, range.lowerBound))
    case .int8:
      let rowBytes = Self.int8RowByteCount(hiddenSize)
      RowCodec.decodeInt8(
        packed[layer].base + range.lowerBound * rowBytes, rowByteCount: rowBytes, block: Self.block, into: x, pool: pool
      )
    }
    return x
  }

  private static func bytes(of x: Matrix) -> UnsafeMutableRawBufferPointer {
    precondition(x.stride == x.columns, "the rows lie end to end")
    return UnsafeMutableRawBufferPointer(start: x.base, count: x.rows * x.columns * MemoryLayout<Float>.stride)
  }

  private func offset(_ layer: Int, _ token: Int) -> Int { (layer * tokens + token) * hiddenSize * 4 }
}
