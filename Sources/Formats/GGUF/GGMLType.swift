/// Element types of GGUF tensors that can be read; raw values are GGML's type numbers.
public enum GGMLType: UInt32, Sendable, CaseIterable {
  case f32 = 0
  case f16 = 1
  case q40 = 2
  case q41 = 3
  case q50 = 6
  case q51 = 7
  case q80 = 8
  case q2K = 10
  case q3K = 11
  case q4K = 12
  case q5K = 13
  case q6K = 14
  case iq4NL = 20
  case iq4XS = 23
  case bf16 = 30
  case tq10 = 34
  case tq20 = 35
  case mxfp4 = 39
  case nvfp4 = 40

  /// GGML's name: `Q4_1`, `Q6_K`, ...
  public var name: String { Self.name(of: rawValue) ?? "\(rawValue)" }

  /// Elements of a block.
  public var blockSize: Int {
    switch self {
    case .f32, .f16, .bf16: 1
    case .q40, .q41, .q50, .q51, .q80, .iq4NL, .mxfp4: 32
    case .nvfp4: 64
    case .q2K, .q3K, .q4K, .q5K, .q6K, .iq4XS, .tq10, .tq20: 256
    }
  }

  /// Bytes of a block.
  public var blockByteCount: Int {
    switch self {
    case .f32: 4
    case .f16, .bf16: 2
    case .mxfp4: 17
    case .q40, .iq4NL: 18
    case .q41: 20
    case .q50: 22
    case .q51: 24
    case .q80: 34
    case .nvfp4: 36
    case .tq10: 54
    case .tq20: 66
    case .q2K: 84
    case .q3K: 110
    case .iq4XS: 136
    case .q4K: 144
    case .q5K: 176
    case .q6K: 210
    }
  }

  /// Bytes of elements that are whole blocks.
  public func byteCount(elements: Int) -> Int { elements / blockSize * blockByteCount }

  /// GGML's name of a type number, also of one that cannot be read; `nil` for a number that means nothing yet.
  ///
  /// Source: `enum ggml_type` in ggml-org/ggml.
  public static func name(of number: UInt32) -> String? {
    switch number {
    case 0: "F32"
    case 1: "F16"
    case 2: "Q4_0"
    case 3: "Q4_1"
    case 4: "Q4_2"
    case 5: "Q4_3"
    case 6: "Q5_0"
    case 7: "Q5_1"
    case 8: "Q8_0"
    case 9: "Q8_1"
    case 10: "Q2_K"
    case 11: "Q3_K"
    case 12: "Q4_K"
    case 13: "Q5_K"
    case 14: "Q6_K"
    case 15: "Q8_K"
    case 16: "IQ2_XXS"
    case 17: "IQ2_XS"
    case 18: "IQ3_XXS"
    case 19: "IQ1_S"
    case 20: "IQ4_NL"
    case 21: "IQ3_S"
    case 22: "IQ2_S"
    case 23: "IQ4_XS"
    case 24: "I8"
    case 25: "I16"
    case 26: "I32"
    case 27: "I64"
    case 28: "F64"
    case 29: "IQ1_M"
    case 30: "BF16"
    case 31: "Q4_0_4_4"
    case 32: "Q4_0_4_8"
    case 33: "Q4_0_8_8"
    case 34: "TQ1_0"
    case 35: "TQ2_0"
    case 36: "IQ4_NL_4_4"
    case 37: "IQ4_NL_4_8"
    case 38: "IQ4_NL_8_8"
    case 39: "MXFP4"
    case 40: "NVFP4"
    case 41: "Q1_0"
    default: nil
    }
  }
}
