import Formats
import Kernels

/// 16-bit floats.
final class HalfEncoder: WeightEncoder {
  private let isBrain: Bool

  /// - Parameter isBrain: bfloat16 in place of half precision
  init(isBrain: Bool) { self.isBrain = isBrain }

  var name: String { isBrain ? "bf16" : "f16" }

  func codes(of tensor: SourceTensor) -> SafetensorsWriter.Declaration {
    .init(name: tensor.name, elementType: isBrain ? .bf16 : .f16, shape: tensor.shape)
  }

  func encode(_ values: UnsafeBufferPointer<Float>, columns: Int, pool: ThreadPool) -> EncodedChunk {
    let isBrain = isBrain
    let made: (codes: [UInt16], scales: [UInt8], sums: ErrorSums) = encodePieces(
      values, piece: columns, codeCount: columns, scaleCount: 0, pool: pool
    ) { values, codes, _ in
      for index in 0..<values.count {
        codes[index] = isBrain ? HalfPrecision.brainBits(values[index]) : HalfPrecision.bits(values[index])
      }
      return ErrorSums(values) {
        isBrain ? Float(bitPattern: UInt32(codes[$0]) << 16) : HalfPrecision.float(codes[$0])
      }
    }
    return EncodedChunk(bytes: made.codes.rawBytes, sums: made.sums)
  }

  func parts(of tensor: SourceTensor) -> [EncodedPart] { [] }
}

/// compressed-tensors' `int-quantized`: 8 bits, one scale per row.
final class Int8Encoder: WeightEncoder {
  private var scales: [Float] = []

  var name: String { "int8" }

  func codes(of tensor: SourceTensor) -> SafetensorsWriter.Declaration {
    .init(name: tensor.name, elementType: .i8, shape: tensor.shape)
  }

  func encode(_ values: UnsafeBufferPointer<Float>, columns: Int, pool: ThreadPool) -> EncodedChunk {
    let made: (codes: [Int8], scales: [Float], sums: ErrorSums) = encodePieces(
      values, piece: columns, codeCount: columns, scaleCount: 1, pool: pool
    ) { values, codes, scales in
      let scale = Int8Codec.quantize(values, codes: codes)
      scales[0] = scale
      return ErrorSums(values) { Float(codes[$0]) * scale }
    }
    scales += made.scales
    return EncodedChunk(bytes: made.codes.rawBytes, sums: made.sums)
  }

  func parts(of tensor: SourceTensor) -> [EncodedPart] {
    [EncodedPart("\(tensor.name)_scale", .f32, shape: [tensor.rows, 1], scales)]
  }
}

/// compressed-tensors' `pack-quantized`: 4 bits, one scale per group of columns.
final class Int4Encoder: WeightEncoder {
  private let groupSize: Int
  private var scales: [UInt16] = []

  init(groupSize: Int) { self.groupSize = groupSize }

  var name: String { "int4" }

  private func stem(_ tensor: SourceTensor) -> String { String(tensor.name.dropLast(".weight".count)) }

  func codes(of tensor: SourceTensor) -> SafetensorsWriter.Declaration {
    .init(name: "\(stem(tensor)).weight_packed", elementType: .i32, shape: [tensor.rows, tensor.columns / 8])
  }

  func encode(_ values: UnsafeBufferPointer<Float>, columns: Int, pool: ThreadPool) -> EncodedChunk {
    let groupSize = groupSize
    let made: (codes: [UInt32], scales: [UInt16], sums: ErrorSums) = encodePieces(
      values, piece: columns, codeCount: columns / 8, scaleCount: columns / groupSize, pool: pool
    ) { values, packed, scales in
      withUnsafeTemporaryAllocation(of: Int8.self, capacity: columns) { codes in
        for group in 0..<columns / groupSize {
          let range = group * groupSize..<(group + 1) * groupSize
          scales[group] = Int4Codec.quantize(
            UnsafeBufferPointer(rebasing: values[range]), codes: UnsafeMutableBufferPointer(rebasing: codes[range]))
        }
        for word in 0..<columns / 8 {
          var bits: UInt32 = 0
          for index in 0..<8 { bits |= UInt32(Int(codes[word * 8 + index]) + 8) << UInt32(4 * index) }
          packed[word] = bits
        }
        return ErrorSums(values) { Float(codes[$0]) * HalfPrecision.float(scales[$0 / groupSize]) }
      }
    }
    scales += made.scales
    return EncodedChunk(bytes: made.codes.rawBytes, sums: made.sums)
  }

  func parts(of tensor: SourceTensor) -> [EncodedPart] {
    [
      EncodedPart(
        "\(stem(tensor)).weight_scale", .f16, shape: [tensor.rows, tensor.columns / groupSize], scales),
      EncodedPart("\(stem(tensor)).weight_shape", .i64, shape: [2], [Int64(tensor.rows), Int64(tensor.columns)]),
    ]
  }
}

/// bitsandbytes' 4-bit NormalFloat.
final class NF4Encoder: WeightEncoder {
  private let doubleQuantization: Bool
  private var absmax: [Float] = []

  /// - Parameter doubleQuantization: block maxima in 8 bits
  init(doubleQuantization: Bool) { self.doubleQuantization = doubleQuantization }

  var name: String { "nf4" }

  func codes(of tensor: SourceTensor) -> SafetensorsWriter.Declaration {
    absmax.reserveCapacity(tensor.rows * tensor.columns / NF4Codec.blockSize)
    return .init(name: tensor.name, elementType: .u8, shape: [tensor.rows * tensor.columns / 2, 1])
  }

  func encode(_ values: UnsafeBufferPointer<Float>, columns: Int, pool: ThreadPool) -> EncodedChunk {
    let made: (codes: [UInt8], scales: [Float], sums: ErrorSums) = encodePieces(
      values, piece: NF4Codec.blockSize, codeCount: NF4Codec.blockSize / 2, scaleCount: 1, pool: pool
    ) { values, codes, absmax in
      NF4Codec.quantize(values, packed: codes, absmax: absmax)
      let scale = absmax[0]
      return ErrorSums(values) { NF4Codec.codebook[Int(codes[$0 / 2] >> ($0 % 2 == 0 ? 4 : 0) & 15)] * scale }
    }
    absmax += made.scales
    return EncodedChunk(bytes: made.codes, sums: made.sums)
  }

  func parts(of tensor: SourceTensor) -> [EncodedPart] {
    let name = tensor.name
    var state = JSONObject([
      ("quant_type", .string("nf4")), ("blocksize", .integer(NF4Codec.blockSize)),
      ("dtype", .string(Self.typeName(tensor.elementType))),
      ("shape", .array(tensor.shape.map { .integer($0) })),
    ])
    var parts: [EncodedPart]
    if doubleQuantization {
      let nested = NestedAbsmax(absmax)
      state["nested_blocksize"] = .integer(NestedAbsmax.blockSize)
      state["nested_dtype"] = .string("float32")
      state["nested_offset"] = .number(Double(nested.offset))
      parts = [
        EncodedPart("\(name).absmax", .u8, shape: [nested.codes.count], nested.codes, isTrailing: true),
        EncodedPart("\(name).nested_absmax", .f32, shape: [nested.absmax.count], nested.absmax),
        EncodedPart("\(name).nested_quant_map", .f32, shape: [256], DynamicMap.signed.values),
      ]
    } else {
      parts = [EncodedPart("\(name).absmax", .f32, shape: [absmax.count], absmax)]
    }
    let text = Array(JSONValue.object(state).serialized().utf8)
    return parts + [
      EncodedPart("\(name).quant_map", .f32, shape: [16], NF4Codec.codebook),
      EncodedPart("\(name).quant_state.bitsandbytes__nf4", .u8, shape: [text.count], text, isTrailing: true),
    ]
  }

  /// What PyTorch calls the type that a weight had: bitsandbytes decodes to it.
  private static func typeName(_ type: ElementType) -> String {
    switch type {
    case .bf16: "bfloat16"
    case .f32: "float32"
    default: "float16"
    }
  }
}
