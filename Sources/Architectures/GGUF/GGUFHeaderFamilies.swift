import Formats

extension GGUFHeader {
  mutating func addFamily(_ architecture: GGUFConfiguration.Architecture) throws {
    switch architecture {
    case .llama, .qwen2, .qwen3, .smollm3: try addLlama(architecture)
    case .gemma3: try addGemma3()
    case .phi3: try addPhi3()
    case .gpt2: try addGPT2()
    case .gptneox: try addGPTNeoX()
    }
  }

  private func plainScale(_ headSize: Int) -> Float { 1 / Float(headSize).squareRoot() }

  private func hasBias(_ linear: LinearDescription) -> Bool { linear.bias != nil }

  private mutating func addLlama(_ architecture: GGUFConfiguration.Architecture) throws {
    try expect([.silu], scale: plainScale)
    let layer = model.layers[0]
    if architecture != .llama, hasBias(layer.attention.output) || hasBias(layer.feedForward.down) {
      throw refuse("llama.cpp has no biases of these layers for \(architecture.rawValue)")
    }
    if architecture == .smollm3 {
      for (index, layer) in model.layers.enumerated() where (layer.attention.rotary == nil) != (index % 4 == 3) {
        throw refuse("llama.cpp turns no heads in every fourth layer of smollm3, this model in others")
      }
    }
    if architecture == .qwen2, layer.attention.headSize * layer.attention.headCount != model.hiddenSize {
      throw refuse("llama.cpp has no head size of \(layer.attention.headSize) for qwen2")
    }
    try addSizes()
    add("attention.head_count_kv", layer.attention.keyValueHeadCount)
    try addRotary(reader.rotaryParameters(), theta: architecture == .smollm3 ? 2_000_000 : 10_000)
    addEpsilon(model.head.norm)
    if reader["head_dim"] != nil || layer.attention.headSize * layer.attention.headCount != model.hiddenSize {
      addHeadSize()
    }
    if architecture == .llama || architecture == .smollm3 {
      add("vocab_size", model.vocabularySize)
      add("rope.dimension_count", layer.attention.headSize)
    }
  }

  private mutating func addHeadSize() {
    add("attention.key_length", model.layers[0].attention.headSize)
    add("attention.value_length", model.layers[0].attention.headSize)
  }

  private mutating func addGemma3() throws {
    // llama.cpp tells the 27B model, which scales otherwise, by its layers.
    let heads = model.layers[0].attention.headCount
    try expect([.geluTanh]) { self.plainScale(self.model.layers.count == 62 ? self.model.hiddenSize / heads : $0) }
    if hasBias(model.layers[0].attention.output) { throw refuse("llama.cpp has no biases for gemma3") }
    try addSizes()
    add("attention.head_count_kv", model.layers[0].attention.keyValueHeadCount)
    try addRotary(reader.rotaryParameters(layerType: "full_attention"), theta: 1_000_000)
    addEpsilon(model.head.norm)
    addHeadSize()
    let windows: [Int?] = model.layers.map { if case .window(let count) = $0.attention.span { count } else { nil } }
    if let window = windows.compactMap({ $0 }).first {
      add("attention.sliding_window", window)
      // Where the window is no shorter than any text, rotation still tells the layers apart.
      let windowed = model.layers.map { $0.attention.rotary == 1 }
      if windowed != windowed.indices.map({ ($0 + 1) % 6 != 0 }) {
        add("attention.sliding_window_pattern", .bools(windowed))
      }
      let all = try reader.rotaryParameters()
      let part =
        all["sliding_attention"] == nil
        ? .object(JSONObject()) : try reader.rotaryParameters(layerType: "sliding_attention")
      let theta = try ConfigurationReader(json: part, file: reader.file).number(
        "rope_theta", 1...1e12, default: try reader.number("rope_local_base_freq", 1...1e12, default: 10_000))
      if theta != 10_000 { add("rope.freq_base_swa", theta) }
      if let type = (part["rope_type"] ?? part["type"])?.stringValue, type != "default" {
        throw refuse("llama.cpp does not stretch rotation in the layers with windows of gemma3")
      }
    } else if model.layers.contains(where: { $0.attention.rotary == 1 }) {
      add("attention.sliding_window", try reader.integer("sliding_window", 1...1 << 40, default: 4096))
    }
    if let cap = reader["final_logit_softcapping"]?.doubleValue, cap > 0 { add("final_logit_softcapping", cap) }
  }

  private mutating func addPhi3() throws {
    try expect([.silu], scale: plainScale)
    let attention = model.layers[0].attention
    guard attention.headSize * attention.headCount == model.hiddenSize else {
      throw refuse("llama.cpp has no head size of \(attention.headSize) for phi3")
    }
    try addSizes()
    add("attention.head_count_kv", attention.keyValueHeadCount)
    addEpsilon(model.head.norm)
    add("rope.dimension_count", model.rotaries[0].frequencies.count * 2)
    try addRotary(reader.rotaryParameters(), theta: 10_000)
    add("attention.sliding_window", try reader.integer("sliding_window", 0...1 << 40, default: 0))
  }

  private mutating func addGPT2() throws {
    try expect([.geluTanh, .gelu], scale: plainScale)
    try addSizes()
    addEpsilon(model.head.norm)
  }

  private mutating func addGPTNeoX() throws {
    try expect([.gelu, .geluTanh], scale: plainScale)
    try addSizes()
    add("rope.dimension_count", model.rotaries[0].frequencies.count * 2)
    add("use_parallel_residual", .bool(model.layers[0].isParallel))
    addEpsilon(model.head.norm)
    var theta = 10_000.0
    if reader["rotary_emb_base"] != nil { theta = try reader.number("rotary_emb_base", 1...1e12) }
    try addRotary(reader.rotaryParameters(), theta: theta)
    repeatsEmbedding = model.head.isTied
    // llama.cpp asks for biases; where there are none, zeros are the same.
    for (index, layer) in model.layers.enumerated() {
      for (linear, name) in [(layer.attention.inputLinears[0], "attn_qkv"), (layer.attention.output, "attn_output")]
      where linear.bias == nil {
        extras.append(.init(name: "blk.\(index).\(name).bias", values: Array(repeating: 0, count: linear.outputSize)))
      }
    }
  }
}
