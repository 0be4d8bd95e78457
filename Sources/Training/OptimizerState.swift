import Formats
import Kernels
import Memory
import Planning

/// What an optimiser remembers in the files of checkpoints, under torch's and transformers' names.
extension OptimizerState {
  private static let momentumName = "exp_avg"
  /// Rows, then columns, matrix by matrix.
  private static let squaresName = "exp_avg_sq_row_col"

  func write(to writer: SafetensorsWriter) throws {
    func write(_ name: String, _ vector: Vector) throws {
      try writer.begin(.init(name: name, elementType: .f32, shape: [vector.count]))
      try vector.withBytes { try writer.append($0) }
    }
    switch self {
    case .moments(let moments): try moments.write(to: writer)
    case .factored(let squares): try write(Self.squaresName, squares.means)
    case .momentum(let vector): try write(Self.momentumName, vector)
    case .none: break
    }
  }

  /// Takes over what a file holds; nothing changes where it throws.
  ///
  /// - Parameter parts: elements of each matrix
  /// - Returns: the form of AdamW's moments in the file
  /// - Throws: `CheckpointError` if it is not of this optimiser and these parameters
  func read(_ file: SafetensorsFile, parts: [Int]) throws -> MomentFormat? {
    switch self {
    case .moments(let moments): return try moments.read(file, parts: parts)
    case .factored(let squares):
      try file.state(Self.squaresName, .f32, count: squares.means.count).copyPieces(into: squares.means)
    case .momentum(let vector):
      try file.state(Self.momentumName, .f32, count: vector.count).copyPieces(into: vector)
    case .none: break
    }
    return nil
  }

  /// Whether every number is finite.
  var isFinite: Bool {
    switch self {
    case .moments(let moments): moments.isFinite
    case .factored(let squares): squares.means.isFinite
    case .momentum(let vector): vector.isFinite
    case .none: true
    }
  }
}

/// Moments in the files of checkpoints.
extension AdamWMoments {
  private static let exactNames = ["exp_avg", "exp_avg_sq"]
  private static func maximaName(_ name: String) -> String { "\(name)_absmax" }
  static let longestName = "exp_avg_sq_absmax".utf8.count

  /// Appends the moments to a file: `exp_avg` and `exp_avg_sq`, in 8 bits with the largest magnitude of each block.
  func write(to writer: SafetensorsWriter) throws {
    func write(_ name: String, _ vector: Vector) throws {
      try writer.begin(.init(name: name, elementType: .f32, shape: [vector.count]))
      try vector.withBytes { try writer.append($0) }
    }
    switch self {
    case .f32(let first, let second):
      for (name, vector) in zip(Self.exactNames, [first, second]) { try write(name, vector) }
    case .int8(let moments):
      for (name, moment) in zip(Self.exactNames, [moments.first, moments.second]) {
        try writer.begin(.init(name: name, elementType: .u8, shape: [moments.count]))
        try moment.codes.withBytes { try writer.append(UnsafeRawBufferPointer($0)) }
        try write(Self.maximaName(name), moment.absmax)
      }
    }
  }

  /// Takes over the moments of a file; such in the other form are converted. Nothing changes where it throws.
  ///
  /// - Parameter parts: as these moments were made with
  /// - Returns: the form of those in the file
  /// - Throws: `CheckpointError` if they are not moments of these parameters
  func read(_ file: SafetensorsFile, parts: [Int]) throws -> MomentFormat {
    let names = Self.exactNames
    let stored: MomentFormat = file.tensor(names[0])?.elementType == .u8 ? .int8 : .f32
    let count = parts.reduce(0, +)
    switch (stored, self) {
    case (.f32, .f32(let first, let second)):
      let tensors = try names.map { try file.state($0, .f32, count: count) }
      for (tensor, vector) in zip(tensors, [first, second]) { tensor.copyPieces(into: vector) }
    case (.f32, .int8(let moments)):
      let tensors = try names.map { try file.state($0, .f32, count: count) }
      moments.assign(
        first: { tensors[0].copyFloats(range: $0, into: $1) }, second: { tensors[1].copyFloats(range: $0, into: $1) })
    case (.int8, .int8(let moments)):
      let parts = try zip(names, [moments.first, moments.second]).map { name, moment in
        let maxima = try file.state(Self.maximaName(name), .f32, count: moment.absmax.count)
        guard maxima.floats().allSatisfy({ $0 >= 0 && $0.isFinite }) else {
          throw CheckpointError(path: file.path, reason: "\(Self.maximaName(name)) holds what is no magnitude")
        }
        return (moment, codes: try file.state(name, .u8, count: count), maxima: maxima)
      }
      for (moment, codes, maxima) in parts {
        moment.codes.withBytes { $0.copyMemory(from: codes.bytes) }
        maxima.copyPieces(into: moment.absmax)
      }
    case (.int8, .f32(let first, let second)):
      // Gone again before the first step needs its memory.
      let (arena, moments) = try Arena.filled { BlockwiseMoments(parts: parts, threadCount: 1, arena: $0) }
      try withExtendedLifetime(arena) {
        _ = try AdamWMoments.int8(moments).read(file, parts: parts)
        moments.copy(first: first, second: second)
      }
    }
    return stored
  }
}

extension SafetensorsFile {
  /// A tensor of a checkpoint, which must have so many elements.
  func state(_ name: String, _ type: ElementType, count: Int) throws -> StoredTensor {
    guard let tensor = tensor(name), tensor.elementType == type, tensor.shape == [count] else {
      throw CheckpointError(path: path, reason: "\(name) does not fit this adapter")
    }
    return tensor
  }
}

extension StoredTensor {
  /// Copies all elements, whose pages leave the memory of the process on the way.
  func copyPieces(into target: Vector) {
    let piece = 1 << 18
    for start in stride(from: 0, to: elementCount, by: piece) {
      let range = start..<min(start + piece, elementCount)
      target.withMutableElements {
        copyFloats(range: range, into: UnsafeMutableBufferPointer(rebasing: $0[range]))
      }
      let size = elementType.byteCount
      file.dropPages(offset: byteOffset + range.lowerBound * size, count: range.count * size)
    }
  }
}

extension AdamWMoments {
  /// Whether every number is finite.
  var isFinite: Bool {
    switch self {
    case .f32(let first, let second): first.isFinite && second.isFinite
    case .int8(let moments): moments.first.absmax.isFinite && moments.second.absmax.isFinite
    }
  }
}

extension Vector {
  /// Whether every element is finite.
  var isFinite: Bool {
    // Each chunk of them is looked at without a branch of its own.
    withBytes { bytes in
      bytes.bindMemory(to: UInt32.self).reduce(0) { $0 | ($1 & 0x7F80_0000 == 0x7F80_0000 ? 1 : 0) } == 0
    }
  }
}
