import Formats
import Kernels
import Memory
import Planning

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

  /// Takes over the moments of a file; such in the other form are converted.
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
      for (name, vector) in zip(names, [first, second]) {
        let tensor = try file.state(name, .f32, count: count)
        vector.withMutableElements { tensor.copyFloats(range: 0..<count, into: $0) }
      }
    case (.f32, .int8(let moments)):
      let tensors = try names.map { try file.state($0, .f32, count: count) }
      moments.assign(
        first: { tensors[0].copyFloats(range: $0, into: $1) }, second: { tensors[1].copyFloats(range: $0, into: $1) })
    case (.int8, .int8(let moments)):
      for (name, moment) in zip(names, [moments.first, moments.second]) {
        let codes = try file.state(name, .u8, count: count)
        let maxima = try file.state(Self.maximaName(name), .f32, count: moment.absmax.count)
        moment.codes.withBytes { $0.copyMemory(from: codes.bytes) }
        moment.absmax.withMutableElements { maxima.copyFloats(range: 0..<moment.absmax.count, into: $0) }
        guard moment.absmax.values.allSatisfy({ $0 >= 0 }) else {
          throw CheckpointError(path: file.path, reason: "\(Self.maximaName(name)) holds what is no magnitude")
        }
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
