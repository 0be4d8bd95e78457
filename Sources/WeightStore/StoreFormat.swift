/// How the linear layers of a store are kept.
public enum StoreFormat: Sendable, Equatable {
  /// bitsandbytes 4-bit NormalFloat, block maxima in fp32 or, with double quantisation, in 8 bits.
  case nf4(doubleQuantization: Bool)
  /// compressed-tensors `int-quantized`: 8 bits, one scale per row.
  case int8
  /// compressed-tensors `pack-quantized`: 4 bits, one scale per group of columns.
  case int4(groupSize: Int)
  case f16
  case bf16

  public var name: String {
    switch self {
    case .nf4: "nf4"
    case .int8: "int8"
    case .int4: "int4"
    case .f16: "f16"
    case .bf16: "bf16"
    }
  }
}
