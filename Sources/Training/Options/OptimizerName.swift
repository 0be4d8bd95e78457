import Kernels
import Options

/// What `--optim` takes: Hugging Face's names, of which several mean the same here.
public enum OptimizerName: String, Sendable, CaseIterable {
  case adamw
  case adamwIn8Bits = "adamw_8bit"
  case adafactor, sgd, lion

  /// Names of `transformers.TrainingArguments`. What is paged there has no need of it here.
  private static let aliases: [String: OptimizerName] = [
    "adamw_torch": .adamw, "adamw_torch_fused": .adamw, "adamw_hf": .adamw, "paged_adamw": .adamw,
    "paged_adamw_32bit": .adamw, "adamw_bnb_8bit": .adamwIn8Bits, "paged_adamw_8bit": .adamwIn8Bits,
    "lion_32bit": .lion, "paged_lion_32bit": .lion,
  ]

  public var kind: OptimizerKind {
    switch self {
    case .adamw, .adamwIn8Bits: .adamw
    case .adafactor: .adafactor
    case .sgd: .sgd
    case .lion: .lion
    }
  }

  init(option text: String) throws {
    guard let name = OptimizerName(rawValue: text) ?? Self.aliases[text] else {
      throw OptionError(
        "--optim \(text): expected \(Self.allCases.map(\.rawValue).joined(separator: ", "))"
          + (text.hasSuffix("8bit") ? "; only AdamW has 8 bits" : ""))
    }
    self = name
  }
}
