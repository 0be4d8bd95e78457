import Architectures
import Formats
import Foundation
import Testing

struct TensorNamesTests {
  /// How a family begins the names of its weights, and how other files do.
  static let spellings: [(variant: String, ours: String, theirs: String)] = [
    ("llama", "model.", ""), ("gpt2", "transformer.", ""), ("neox", "gpt_neox.", ""),
    ("opt", "model.decoder.", "decoder."), ("opt", "model.decoder.", ""),
    ("gemma3", "model.", "language_model.model."), ("gemma3", "model.", "model.language_model."),
    ("gemma3", "model.", ""),
  ]

  @Test(arguments: spellings.indices) func bareAndEmbeddedModelsAreFoundByTheirPrefixes(index: Int) throws {
    let (variant, ours, theirs) = Self.spellings[index]
    let description = try ModelDescription.load(directory: "\(models)/\(variant)")
    let names = description.tensors.map(\.name).map { $0.hasPrefix(ours) ? theirs + $0.dropFirst(ours.count) : $0 }
    #expect(names.count { $0.hasPrefix(theirs) } > 10 && names != description.tensors.map(\.name))
    let found = TensorNames(of: description, in: names)
    #expect(description.tensors.map { found.stored($0.name) } == names)
    try found.checkParts(of: description, in: names, file: "model")
  }

  @Test func aHeadOfItsOwnIsFoundWithTheTextPartsPrefix() throws {
    let description = try ModelDescription.load(directory: "\(models)/gemma3-options")
    let names = description.tensors.map { "language_model.\($0.name)" }
    let found = TensorNames(of: description, in: names)
    #expect(description.tensors.map { found.stored($0.name) } == names)
  }

  @Test func theTextPartOfALargerConfigurationIsItsOwn() throws {
    let text = try JSONValue.parse(contentsOf: "\(models)/gemma3/config.json")
    var inner = try #require(text.objectValue)
    inner["architectures"] = nil
    inner["eos_token_id"] = nil
    let whole = JSONObject([
      ("architectures", .array([.string("Gemma3ForConditionalGeneration")])), ("model_type", .string("gemma3")),
      ("eos_token_id", .array([.integer(1), .integer(106)])), ("text_config", .object(inner)),
    ])
    let found = try ModelDescription(json: .object(whole), file: "config.json")
    let alone = try ModelDescription(json: text, file: "config.json")
    #expect(found.layers == alone.layers && found.embedding == alone.embedding && found.head == alone.head)
    #expect(found.eosTokenIDs == [1, 106] && alone.eosTokenIDs == [1])
    // What is written beside the weights is a model of text, with the same description.
    let written = found.family.configuration(.object(whole))
    #expect(written["text_config"] == nil)
    #expect(try ModelDescription(json: written, file: "config.json") == found)
  }

  @Test(arguments: [
    ("gpt2", "transformer.h.0.attn.bias"), ("gpt2", "transformer.h.1.attn.masked_bias"),
    ("neox", "gpt_neox.layers.0.attention.bias"), ("neox", "gpt_neox.layers.1.attention.rotary_emb.inv_freq"),
    ("neox", "gpt_neox.layers.1.attention.masked_bias"), ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
  ])
  func buffersThatAModelComputesAreNoWeights(variant: String, buffer: String) throws {
    let description = try ModelDescription.load(directory: "\(models)/\(variant)")
    let names = description.tensors.map(\.name)
    let found = TensorNames(of: description, in: names + [buffer])
    try found.checkParts(of: description, in: names + [buffer], file: "model")
  }

  @Test(arguments: [
    ("gpt2", "transformer.h.0.attn.extra.weight"), ("neox", "gpt_neox.layers.0.attention.dense_2.bias"),
    ("llama", "model.layers.0.self_attn.q_proj.bias"), ("llama", "model.layers.9.mlp.up_proj.weight"),
    ("opt", "model.decoder.layers.0.fc3.weight"), ("phi3", "model.layers.0.self_attn.q_proj.weight_packed"),
  ])
  func weightsThatAModelHasNoPlaceForAreRefused(variant: String, weight: String) throws {
    let description = try ModelDescription.load(directory: "\(models)/\(variant)")
    let names = description.tensors.map(\.name) + [weight]
    let found = TensorNames(of: description, in: names)
    let text = message { try found.checkParts(of: description, in: names, file: "model") }
    #expect(text.contains("\(weight) is no part of a \(description.family.architecture)"), "\(text)")
  }
}
