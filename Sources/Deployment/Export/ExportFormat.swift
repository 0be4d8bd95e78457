import Architectures
import Formats

/// How the weights of an exported model are kept.
public enum ExportFormat: String, Sendable, CaseIterable {
  case f16
  case q80 = "q8_0"
  case q40 = "q4_0"
  /// The mixture that llama.cpp calls Q4_K_M.
  case q4K = "q4_k"

  /// The type of most linear layers.
  var type: GGMLType {
    switch self {
    case .f16: .f16
    case .q80: .q80
    case .q40: .q40
    case .q4K: .q4K
    }
  }

  /// `general.file_type`, by llama.cpp's numbers.
  var fileType: UInt32 {
    switch self {
    case .f16: 1
    case .q80: 7
    case .q40: 2
    case .q4K: 15
    }
  }
}

/// Which type each tensor of a file has.
///
/// Source of the rule for Q4_K_M, and of what rows become that are no multiple of 256: llama.cpp's `llama-quant.cpp`, for
/// models without experts and without an importance matrix.
struct ExportMixture {
  static let headName = "output.weight"

  private let format: ExportFormat
  private let model: ModelDescription
  private let hasHead: Bool

  /// - Parameter tensorNames: of all weights of the file
  init(_ format: ExportFormat, of model: ModelDescription, tensorNames: [String]) {
    self.format = format
    self.model = model
    hasHead = tensorNames.contains(Self.headName)
  }

  /// Vectors and positions are F32, as llama.cpp wants them. What makes logits is kept in more bits where the rest has 4.
  ///
  /// - Parameter name: in the file
  func type(of tensor: TensorDescription, at name: String) -> GGMLType {
    switch tensor.role {
    case .vector, .table: return .f32
    case .linear, .embedding:
      let columns = tensor.shape.last ?? 1
      let wanted: GGMLType =
        switch format {
        case .f16, .q80: format.type
        case .q40: tensor == model.head.weight ? .q80 : .q40
        case .q4K: Self.fitting(needsMoreBits(name) ? .q6K : .q4K, columns: columns)
        }
      return columns % wanted.blockSize == 0 ? wanted : .f16
    }
  }

  /// Which weights of a Q4_K_M file are Q6_K: the head or what stands for it, and, of some layers, what makes values and what
  /// leaves the feed-forward block.
  private func needsMoreBits(_ name: String) -> Bool {
    if name == Self.headName || name == "token_embd.weight" { return name == Self.headName || !hasHead }
    let parts = name.split(separator: ".")
    guard parts.count == 4, parts[0] == "blk", let layer = Int(parts[1]),
      ["attn_v", "attn_qkv", "ffn_down"].contains(parts[2])
    else { return false }
    // The first eighth of the layers, the last one, and every third between them.
    let (count, eighth) = (model.layers.count, model.layers.count / 8)
    return layer < eighth || layer >= 7 * count / 8 || (layer - eighth) % 3 == 2
  }

  /// A type of blocks of 256, or what stands for it in rows that are no multiple of them.
  private static func fitting(_ type: GGMLType, columns: Int) -> GGMLType {
    columns % 256 == 0 ? type : type == .q6K ? .q80 : .q50
  }
}
