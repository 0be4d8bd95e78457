import Formats
import Kernels

/// How one weight becomes bytes: the codes of its rows, chunk by chunk, and then what belongs to all of them. It knows no file.
protocol WeightEncoder: AnyObject {
  /// `nf4`, `int8`, `f16`, ...
  var name: String { get }

  /// The tensor that takes the codes of a weight.
  func codes(of tensor: SourceTensor) -> SafetensorsWriter.Declaration

  /// The codes of the weight's next rows.
  ///
  /// - Parameter values: whole rows of `columns` elements; but for a weight's last ones a multiple of 64 of them
  func encode(_ values: UnsafeBufferPointer<Float>, columns: Int, pool: ThreadPool) -> EncodedChunk

  /// Scales and tables, once all rows are encoded.
  func parts(of tensor: SourceTensor) -> [EncodedPart]
}

/// Codes of some rows.
struct EncodedChunk {
  let bytes: [UInt8]
  let sums: ErrorSums
}

/// A tensor that belongs to a weight's codes.
struct EncodedPart {
  let name: String
  let elementType: ElementType
  let shape: [Int]
  let bytes: [UInt8]
  /// Whether it goes to the end of a file, because its length is any number of bytes.
  let isTrailing: Bool

  init<T: BitwiseCopyable>(
    _ name: String, _ elementType: ElementType, shape: [Int], _ values: [T], isTrailing: Bool = false
  ) {
    self.name = name
    self.elementType = elementType
    self.shape = shape
    bytes = values.withUnsafeBytes { Array($0) }
    self.isTrailing = isTrailing
  }
}

/// Squared error and squares of some elements.
struct ErrorSums: Sendable {
  var error = 0.0
  var squares = 0.0

  init() {}

  init(_ values: UnsafeBufferPointer<Float>, decoded: (Int) -> Float) {
    for (index, value) in values.enumerated() {
      let difference = Double(value - decoded(index))
      error += difference * difference
      squares += Double(value) * Double(value)
    }
  }

  static func += (left: inout ErrorSums, right: ErrorSums) {
    left.error += right.error
    left.squares += right.squares
  }
}

/// A buffer of which the tasks of a parallel loop touch disjoint parts.
struct SharedBuffer<Element>: @unchecked Sendable {
  // @unchecked: whoever shares it says which task has which part.
  let buffer: UnsafeMutableBufferPointer<Element>
  init(_ buffer: UnsafeMutableBufferPointer<Element>) { self.buffer = buffer }
}

/// The codes of pieces that are encoded by themselves, several at a time.
///
/// - Parameters:
///   - values: whole pieces
///   - piece: elements of a piece: a row, or a block
///   - codeCount: codes of a piece
///   - scaleCount: scales of a piece
///   - encode: fills the codes and scales of a piece
/// - Returns: codes and scales in the order of the pieces, and the errors added up in that order
func encodePieces<Code: FixedWidthInteger & Sendable, Scale: Numeric & Sendable>(
  _ values: UnsafeBufferPointer<Float>, piece: Int, codeCount: Int, scaleCount: Int, pool: ThreadPool,
  _ encode:
    @Sendable (
      _ values: UnsafeBufferPointer<Float>, _ codes: UnsafeMutableBufferPointer<Code>,
      _ scales: UnsafeMutableBufferPointer<Scale>
    ) -> ErrorSums
) -> (codes: [Code], scales: [Scale], sums: ErrorSums) {
  let count = values.count / piece
  let tile = 64
  let tasks = (count + tile - 1) / tile
  var codes = [Code](repeating: 0, count: count * codeCount)
  var scales = [Scale](repeating: 0, count: count * scaleCount)
  var sums = [ErrorSums](repeating: ErrorSums(), count: tasks)
  let input = SharedBuffer(UnsafeMutableBufferPointer(mutating: values))
  codes.withUnsafeMutableBufferPointer { codes in
    scales.withUnsafeMutableBufferPointer { scales in
      sums.withUnsafeMutableBufferPointer { sums in
        let (codes, scales, sums) = (SharedBuffer(codes), SharedBuffer(scales), SharedBuffer(sums))
        pool.run(tasks) { task, _ in
          var sum = ErrorSums()
          for index in task * tile..<min((task + 1) * tile, count) {
            sum += encode(
              UnsafeBufferPointer(rebasing: input.buffer[index * piece..<(index + 1) * piece]),
              UnsafeMutableBufferPointer(rebasing: codes.buffer[index * codeCount..<(index + 1) * codeCount]),
              UnsafeMutableBufferPointer(rebasing: scales.buffer[index * scaleCount..<(index + 1) * scaleCount]))
          }
          sums.buffer[task] = sum
        }
      }
    }
  }
  var sum = ErrorSums()
  for part in sums { sum += part }
  return (codes, scales, sum)
}

extension Array where Element: BitwiseCopyable {
  /// The elements as they lie in memory.
  var rawBytes: [UInt8] { withUnsafeBytes { [UInt8]($0) } }
}
