/// A weight that a model must have.
struct TensorName {
  enum Role {
    /// A norm or a bias.
    case vector
    /// The embedding or the vocabulary head.
    case embedding
    case linear
  }

  let text: String
  let shape: [Int]
  let role: Role
}

extension ModelConfiguration {
  /// Refuses weights of a layer that this model has no place for: they show that the configuration is another model's,
  /// and to leave them out would give wrong results in silence.
  ///
  /// - Parameters:
  ///   - names: what a file holds
  ///   - layers: how names of a layer's weights begin
  ///   - expected: the file's name for one of `tensorNames`
  func checkParts(
    _ names: [String], file: String, layers: String = "model.layers.", expected: (String) -> String? = { $0 }
  ) throws {
    let known = Set(tensorNames.compactMap { expected($0.text) })
    for name in names where name.hasPrefix(layers) {
      let weight = name.hasSuffix(".weight_packed") ? String(name.dropLast("_packed".count)) : name
      guard weight.hasSuffix(".weight") || weight.hasSuffix(".bias"), !known.contains(weight) else { continue }
      throw Invalid(
        file: file,
        reason: "tensor \(name) is no part of a \(architecture.rawValue) of \(layerCount) layers; "
          + "weights and configuration do not belong together")
    }
  }

  /// All weights in the order in which a model uses them.
  var tensorNames: [TensorName] {
    let hidden = hiddenSize
    let inner = intermediateSize
    let queries = headCount * headSize
    let keys = keyValueHeadCount * headSize
    let vocabulary = [vocabularySize, hidden]
    var names = [TensorName(text: "model.embed_tokens.weight", shape: vocabulary, role: .embedding)]
    for layer in 0..<layerCount {
      let stem = "model.layers.\(layer)"
      func add(_ name: String, _ shape: [Int], _ role: TensorName.Role) {
        names.append(TensorName(text: "\(stem).\(name)", shape: shape, role: role))
      }
      add("input_layernorm.weight", [hidden], .vector)
      for (name, rows) in [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)] {
        add("self_attn.\(name).weight", [rows, hidden], .linear)
        if attentionBias { add("self_attn.\(name).bias", [rows], .vector) }
      }
      add("self_attn.o_proj.weight", [hidden, queries], .linear)
      add("post_attention_layernorm.weight", [hidden], .vector)
      add("mlp.gate_proj.weight", [inner, hidden], .linear)
      add("mlp.up_proj.weight", [inner, hidden], .linear)
      add("mlp.down_proj.weight", [hidden, inner], .linear)
    }
    names.append(TensorName(text: "model.norm.weight", shape: [hidden], role: .vector))
    if !tiedEmbeddings {
      names.append(TensorName(text: "lm_head.weight", shape: vocabulary, role: .embedding))
    }
    return names
  }
}
