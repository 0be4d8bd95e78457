import CKernels

/// A frozen weight matrix `W` `[rows = out features, columns = in features]` as it is stored; a view of mapped memory.
///
/// Whoever maps the file keeps it mapped for as long as the view is used. `columns` is a multiple of 32.
public struct StoredMatrix: @unchecked Sendable {
  // @unchecked: the memory behind it is mapped read-only.

  /// Scales of rows or groups.
  public enum Scales {
    case f32(UnsafePointer<Float>)
    case f16(UnsafePointer<UInt16>)
    case bf16(UnsafePointer<UInt16>)
  }

  /// Block maxima of bitsandbytes' 4-bit layout.
  public enum Absmax {
    case f32(UnsafePointer<Float>)
    /// Double quantisation: `codebook[code] * absmax[i / blockSize] + offset`.
    case nested(
      codes: UnsafePointer<UInt8>, codebook: UnsafePointer<Float>, absmax: UnsafePointer<Float>, blockSize: Int,
      offset: Float)
  }

  /// How the elements are stored.
  public enum Codes {
    case f32(UnsafePointer<Float>)
    case f16(UnsafePointer<UInt16>)
    case bf16(UnsafePointer<UInt16>)
    /// One scale per row.
    case int8(UnsafePointer<Int8>, scales: Scales)
    /// compressed-tensors `pack-quantized`: 8 codes in an int32, lowest nibble first, value `nibble - 8`.
    case int4(UnsafePointer<UInt32>, scales: Scales, groupSize: Int)
    /// bitsandbytes: blocks of the flat tensor, high nibble first; `codebook` holds 16 values.
    case nf4(UnsafePointer<UInt8>, absmax: Absmax, blockSize: Int, codebook: UnsafePointer<Float>)
  }

  public let rows: Int
  public let columns: Int
  public let codes: Codes
  let native: el_matrix

  public init(rows: Int, columns: Int, codes: Codes) {
    precondition(rows > 0 && columns > 0 && columns % 32 == 0, "a stored matrix has a multiple of 32 columns")
    self.rows = rows
    self.columns = columns
    self.codes = codes
    var native = el_matrix()
    native.rows = rows
    native.columns = columns
    native.group = columns
    native.nested_group = 1
    func set(_ scales: Scales) {
      switch scales {
      case .f32(let pointer):
        native.scale_type = EL_SCALE_F32
        native.scales = UnsafeRawPointer(pointer)
      case .f16(let pointer):
        native.scale_type = EL_SCALE_F16
        native.scales = UnsafeRawPointer(pointer)
      case .bf16(let pointer):
        native.scale_type = EL_SCALE_BF16
        native.scales = UnsafeRawPointer(pointer)
      }
    }
    switch codes {
    case .f32(let pointer):
      native.codes = EL_F32
      native.data = UnsafeRawPointer(pointer)
    case .f16(let pointer):
      native.codes = EL_F16
      native.data = UnsafeRawPointer(pointer)
    case .bf16(let pointer):
      native.codes = EL_BF16
      native.data = UnsafeRawPointer(pointer)
    case .int8(let pointer, let scales):
      native.codes = EL_INT8
      native.data = UnsafeRawPointer(pointer)
      set(scales)
    case .int4(let pointer, let scales, let groupSize):
      precondition(groupSize % 32 == 0 && columns % groupSize == 0, "groups are multiples of 32 and fill the rows")
      native.codes = EL_INT4
      native.data = UnsafeRawPointer(pointer)
      native.group = groupSize
      set(scales)
    case .nf4(let pointer, let absmax, let blockSize, let codebook):
      precondition(blockSize % 32 == 0, "blocks of NF4 are multiples of 32")
      native.codes = EL_NF4
      native.data = UnsafeRawPointer(pointer)
      native.group = blockSize
      native.codebook = codebook
      switch absmax {
      case .f32(let pointer): set(.f32(pointer))
      case .nested(let codes, let codebook, let nestedAbsmax, let nestedBlockSize, let offset):
        native.scale_type = EL_SCALE_NESTED
        native.scales = UnsafeRawPointer(codes)
        native.nested_codebook = codebook
        native.nested_absmax = nestedAbsmax
        native.nested_group = nestedBlockSize
        native.nested_offset = offset
      }
    }
    self.native = native
  }

  /// Whether the elements are floats, not codes.
  var isFloat: Bool {
    switch codes {
    case .f32, .f16, .bf16: true
    case .int8, .int4, .nf4: false
    }
  }

  /// Bits of an element's code.
  var elementBits: Int {
    switch codes {
    case .f32: 32
    case .f16, .bf16: 16
    case .int8: 8
    case .int4, .nf4: 4
    }
  }

  /// Block of the reduction over the columns: 64, or 32 where a scale changes within 64.
  public var reductionBlock: Int {
    switch codes {
    case .int4(_, _, let groupSize): groupSize % 64 == 0 ? 64 : 32
    case .nf4(_, _, let blockSize, _): columns % 64 == 0 && blockSize % 64 == 0 ? 64 : 32
    default: columns % 64 == 0 ? 64 : 32
    }
  }

  /// Block of the reduction over the rows; the last one may be filled up with zeros.
  public var gradientBlock: Int { 64 }

  /// Memory that some rows occupy: their codes, and with all rows everything that belongs to the matrix.
  ///
  /// - Parameter range: rows; scales are shared between rows in some layouts and are only part of all rows
  public func memory(ofRows range: Range<Int>? = nil) -> [UnsafeRawBufferPointer] {
    let part = range ?? 0..<rows
    func piece(_ base: UnsafeRawPointer, bits: Int, from first: Int, _ count: Int) -> UnsafeRawBufferPointer {
      UnsafeRawBufferPointer(start: base + first * bits / 8, count: (count * bits + 7) / 8)
    }
    var pieces = [piece(native.data, bits: elementBits, from: part.lowerBound * columns, part.count * columns)]
    if range == nil, let scales = native.scales {
      let bits =
        switch native.scale_type {
        case EL_SCALE_F32: 32
        case EL_SCALE_NESTED: 8
        default: 16
        }
      pieces.append(piece(scales, bits: bits, from: 0, (rows * columns + native.group - 1) / native.group))
    }
    return pieces
  }

  /// Exact values of one row.
  /// - Parameter values: `[columns]`
  public func decodeRow(_ row: Int, into values: Vector) {
    precondition(row >= 0 && row < rows && values.count == columns, "row \(row) of a matrix of \(rows)")
    withUnsafePointer(to: native) {
      KernelTables.int8.pointee.decode_floats($0, row, 0, columns, values.base)
    }
  }

  /// Exact values of some rows, `[range.count, columns]`.
  public func decode(rows range: Range<Int>, into values: Matrix) {
    for row in range { decodeRow(row, into: values.row(row - range.lowerBound)) }
  }
}
