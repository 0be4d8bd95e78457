import CKernels
import Foundation
import Kernels

/// Reproducible numbers in [-1, 1).
struct Generator {
  var state: UInt64 = 7
  mutating func next() -> Float { Float(Int32(truncatingIfNeeded: bits() >> 33) & 0xFFFF) / 32768 - 1 }
  mutating func bits() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state
  }
}

/// The float kernels of every instruction set that this processor has.
func floatTables() -> [UnsafePointer<el_float_kernels>] {
  var tables: [UnsafePointer<el_float_kernels>] = []
  guard let names = el_float_kernel_names() else { return tables }
  var index = 0
  while let name = names[index] {
    if let table = el_float_kernels_named(name) { tables.append(table) }
    index += 1
  }
  return tables
}

/// 64-byte aligned memory that lives as long as the object. Filled with a pattern, so that reading what nobody wrote
/// shows.
final class Memory {
  let base: UnsafeMutableRawPointer
  let byteCount: Int
  init(_ byteCount: Int) {
    self.byteCount = byteCount
    base = .allocate(byteCount: max(byteCount, 64), alignment: 64)
    base.initializeMemory(as: UInt8.self, repeating: 0x5A, count: byteCount)
  }
  deinit { base.deallocate() }
  func bind<T>(_ type: T.Type) -> UnsafeMutablePointer<T> { base.assumingMemoryBound(to: type) }
}

/// How a made-up matrix is stored.
enum StoredKind: String, CaseIterable, Sendable {
  case f32, f16, bf16, int8, int4Groups64, int4Groups32, nf4, nf4Nested
}

/// A made-up matrix in one of the stored formats.
final class MadeUpMatrix {
  let matrix: StoredMatrix
  var native = el_matrix()
  private var memory: [Memory] = []

  init(_ kind: StoredKind, rows: Int, columns: Int) {
    var generator = Generator(state: UInt64(rows * 1009 + columns))
    var parts: [Memory] = []
    func fill<T>(_ count: Int, _ make: () -> T) -> UnsafeMutablePointer<T> {
      let memory = Memory(count * MemoryLayout<T>.stride)
      parts.append(memory)
      let pointer = memory.bind(T.self)
      for i in 0..<count { pointer[i] = make() }
      return pointer
    }
    let count = rows * columns
    func scales(_ n: Int) -> UnsafeMutablePointer<Float> { fill(n) { abs(generator.next()) + 0.01 } }
    let codes: StoredMatrix.Codes
    let codebook = fill(16) { Float(0) }
    for i in 0..<16 { codebook[i] = i == 7 ? 0 : i == 15 ? 1 : i == 0 ? -1 : Float(i) / 7.9 - 0.93 }
    native.rows = rows
    native.columns = columns
    native.group = columns
    native.nested_group = 1
    switch kind {
    case .f32:
      let data = fill(count) { generator.next() }
      native.codes = EL_F32
      native.data = UnsafeRawPointer(data)
      codes = .f32(data)
    case .f16:
      // normal, subnormal and zero
      let data = fill(count) { UInt16(truncatingIfNeeded: generator.bits() >> 40) & 0xBBFF }
      native.codes = EL_F16
      native.data = UnsafeRawPointer(data)
      codes = .f16(data)
    case .bf16:
      let data = fill(count) { UInt16(generator.next().bitPattern >> 16) }
      native.codes = EL_BF16
      native.data = UnsafeRawPointer(data)
      codes = .bf16(data)
    case .int8:
      let data = fill(count) { Int8(generator.next() * 127) }
      let scale = scales(rows)
      native.codes = EL_INT8
      native.data = UnsafeRawPointer(data)
      native.scale_type = EL_SCALE_F32
      native.scales = UnsafeRawPointer(scale)
      codes = .int8(data, scales: .f32(scale))
    case .int4Groups64, .int4Groups32:
      let group = kind == .int4Groups64 && columns % 64 == 0 ? 64 : 32
      let data = fill(count / 8) { UInt32(truncatingIfNeeded: generator.bits() >> 24) }
      let scale = fill(count / group) { UInt16(0x3000 + (generator.bits() >> 40) % 0x800) }
      native.codes = EL_INT4
      native.data = UnsafeRawPointer(data)
      native.scale_type = EL_SCALE_F16
      native.scales = UnsafeRawPointer(scale)
      native.group = group
      codes = .int4(data, scales: .f16(scale), groupSize: group)
    case .nf4, .nf4Nested:
      let data = fill(count / 2) { UInt8(truncatingIfNeeded: generator.bits() >> 40) }
      native.codes = EL_NF4
      native.data = UnsafeRawPointer(data)
      native.codebook = UnsafePointer(codebook)
      native.group = 64
      let groups = (count + 63) / 64
      if kind == .nf4 {
        let scale = scales(groups)
        native.scale_type = EL_SCALE_F32
        native.scales = UnsafeRawPointer(scale)
        codes = .nf4(data, absmax: .f32(scale), blockSize: 64, codebook: codebook)
      } else {
        let nested = fill(groups) { UInt8(truncatingIfNeeded: generator.bits() >> 40) }
        let book = fill(256) { generator.next() * 0.4 }
        let absmax = scales((groups + 255) / 256)
        native.scale_type = EL_SCALE_NESTED
        native.scales = UnsafeRawPointer(nested)
        native.nested_codebook = UnsafePointer(book)
        native.nested_absmax = UnsafePointer(absmax)
        native.nested_group = 256
        native.nested_offset = 0.5
        codes = .nf4(
          data, absmax: .nested(codes: nested, codebook: book, absmax: absmax, blockSize: 256, offset: 0.5),
          blockSize: 64, codebook: codebook)
      }
    }
    matrix = StoredMatrix(rows: rows, columns: columns, codes: codes)
    memory = parts
  }

  /// Exact values, `[rows, columns]`.
  func values() -> [Float] {
    let space = Memory(matrix.rows * matrix.columns * 4)
    let values = Matrix(space.bind(Float.self), rows: matrix.rows, columns: matrix.columns)
    matrix.decode(rows: 0..<matrix.rows, into: values)
    return Array(UnsafeBufferPointer(start: values.base, count: matrix.rows * matrix.columns))
  }
}
