import Formats
import Foundation
import Testing

@Suite struct PEFTConfigurationTests {
  private static func documents(_ name: String) throws -> JSONObject {
    try #require(try JSONValue.parse(contentsOf: "\(golden)/\(name).json").objectValue)
  }

  /// Lists of names in alphabetical order: PEFT holds them as sets.
  private func sorted(_ value: JSONValue) -> JSONValue {
    guard let names = value.arrayValue?.compactMap(\.stringValue), names.count == value.arrayValue?.count else {
      return value
    }
    return .array(names.sorted().map { .string($0) })
  }

  /// What differs between a document and what is written of it; keys without effect may be left out.
  private func differences(_ document: JSONValue, _ written: JSONValue) -> [String] {
    var found: [String] = []
    for entry in document.objectValue?.entries ?? [] {
      guard let own = written[entry.key] else {
        let isDefault = ["megatron_core", "qalora_group_size"].contains(entry.key)
        let saysNothing = entry.value == .null || entry.value == .bool(false) || entry.value == .object(JSONObject())
        if !isDefault, !saysNothing { found.append("\(entry.key) is lost") }
        continue
      }
      if let number = own.doubleValue, number == entry.value.doubleValue { continue }
      if sorted(own) != sorted(entry.value) { found.append("\(entry.key) is \(own.serialized())") }
    }
    return found + (written.objectValue?.keys ?? []).filter { document[$0] == nil }.map { "PEFT knows no \($0)" }
  }

  /// Without `task_type` PEFT writes down the class of the model.
  @Test(
    arguments: [
      ("BertForSequenceClassification", "SEQ_CLS"), ("RobertaForTokenClassification", "TOKEN_CLS"),
      ("LlamaForCausalLM", nil),
    ] as [(String, String?)])
  func theTaskMayBeThatOfTheModelsClass(name: String, task: String?) throws {
    var document = try #require(try Self.documents("peft")["lora"]?.objectValue)
    document["task_type"] = .null
    document["auto_mapping"] = .object(JSONObject([("base_model_class", .string(name))]))
    guard case .lora(let lora) = try PEFTConfiguration(json: .object(document), file: "test") else {
      Issue.record("no LoRA")
      return
    }
    #expect(lora.common.taskType == task && PEFTCommon.taskType(of: .object(document)) == task)
    document["task_type"] = .string("CAUSAL_LM")
    #expect(PEFTCommon.taskType(of: .object(document)) == "CAUSAL_LM")
  }

  @Test(arguments: ["lora", "lora of all", "lora of layers", "lora by pattern", "ia3", "prefix", "prompt", "p"])
  func whatPEFTSavesIsReadAndWrittenWithoutLoss(name: String) throws {
    let document = try #require(try Self.documents("peft")[name])
    let read = try PEFTConfiguration(json: document, file: name)
    #expect(differences(document, read.json) == [])
    try withTemporaryFolder { folder in
      try read.write(to: folder)
      #expect(try PEFTConfiguration.load(directory: folder) == read)
    }
  }

  @Test func everyFieldOfLoRAIsStated() throws {
    let document = try #require(try Self.documents("peft")["lora of all"])
    guard case .lora(let lora) = try PEFTConfiguration(json: document, file: "test") else {
      Issue.record("not LoRA")
      return
    }
    #expect(lora.rank == 16 && lora.alpha == 32 && lora.dropout == 0.05 && lora.useRSLoRA && lora.useDoRA)
    #expect(lora.targetModules == .allLinear && lora.excludeModules == .names(["v_proj"]))
    #expect(lora.rankPattern.map(\.pattern) == ["^model.layers.0.k_proj", "q_proj"])
    #expect(lora.rankPattern.map(\.value) == [2, 8] && lora.alphaPattern == [.init(pattern: "q_proj", value: 2)])
    #expect(lora.bias == "lora_only" && lora.fanInFanOut && lora.initialisation == .named("gaussian"))
    #expect(lora.trainableTokens == [.init(tokens: [1, 5])] && lora.common.modulesToSave == ["score"])
    #expect(lora.common.taskType == "SEQ_CLS" && lora.others.entries.isEmpty)
  }

  @Test func promptsStateTheShapeOfTheirModel() throws {
    let documents = try Self.documents("peft")
    guard case .prefixTuning(let prefix) = try PEFTConfiguration(json: try #require(documents["prefix"]), file: "a"),
      case .promptTuning(let prompt) = try PEFTConfiguration(json: try #require(documents["prompt"]), file: "b"),
      case .pTuning(let encoded) = try PEFTConfiguration(json: try #require(documents["p"]), file: "c")
    else {
      Issue.record("other methods")
      return
    }
    let shape = PEFTPromptShape(virtualTokenCount: 5, tokenDimension: 64, headCount: 4, layerCount: 2)
    #expect(prefix.shape == shape && prompt.shape == shape && encoded.shape == shape)
    #expect(prefix.hasProjection && prefix.encoderHiddenSize == 32)
    #expect(prompt.initialisation == "TEXT" && prompt.initialText == "Answer:" && prompt.tokenizer == "base")
    #expect(encoded.encoder == "LSTM" && encoded.encoderDropout == 0.1 && encoded.encoderLayerCount == 1)
  }

  @Test(arguments: [
    (#"{"peft_type": "LOHA"}"#, "peft_type is LOHA, expected LORA, IA3"), ("[]", "is no JSON object"),
    ("{}", "missing"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "use_dora": 3}"#, "use_dora is 3, expected true or false"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [1]}"#, "target_modules is [1]"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "rank_pattern": {"q": 0}}"#, "rank_pattern of q is 0"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "layers_to_transform": [-1]}"#, "layers_to_transform is [-1]"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "bias": "some"}"#, "bias is some"),
    (#"{"peft_type": "LORA", "r": 0, "lora_alpha": 1}"#, "r is not a rank"),
    (#"{"peft_type": "LORA", "r": 1e30, "lora_alpha": 1}"#, "r is not a rank"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1e300}"#, "lora_alpha"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": "8"}"#, "lora_alpha"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "lora_dropout": 1}"#, "lora_dropout"),
    (#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "lora_dropout": -0.1}"#, "lora_dropout"),
    (#"{"peft_type": "IA3", "target_modules": ["a"], "feedforward_modules": ["b"]}"#, "feedforward_modules names b"),
    (#"{"peft_type": "PREFIX_TUNING"}"#, "num_virtual_tokens is missing"),
    (#"{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 0}"#, "num_virtual_tokens is 0"),
    (#"{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 1, "prompt_tuning_init": "X"}"#, "prompt_tuning_init is X"),
    (#"{"peft_type": "P_TUNING", "num_virtual_tokens": 1, "encoder_dropout": 2}"#, "encoder_dropout is 2"),
  ])
  func whatMeansNothingIsRefusedByItsKey(text: String, expected: String) throws {
    let document = try JSONValue.parse(text, file: "test")
    let found = message { _ = try PEFTConfiguration(json: document, file: "adapter_config.json") }
    #expect(found.hasPrefix("adapter_config.json: ") && found.contains(expected), "\(found)")
  }

  @Test func keysThatAreNotKnownAreStatedWhenTheySaySomething() throws {
    let document = try JSONValue.parse(
      #"{"peft_type": "IA3", "target_modules": "x", "new": [1], "off": false, "none": null, "empty": {}}"#, file: "test"
    )
    guard case .ia3(let method) = try PEFTConfiguration(json: document, file: "test") else { return }
    #expect(method.others.keys == ["new"] && method.targetModules == .pattern("x"))
  }
}

@Suite struct AdapterHubConfigurationTests {
  private static func document(_ name: String) throws -> JSONValue {
    try #require(try JSONValue.parse(contentsOf: "\(golden)/adapterhub.json")[name])
  }

  /// Numbers with and without a point are the same.
  private func flat(_ value: JSONValue) -> [String: JSONValue] {
    Dictionary(uniqueKeysWithValues: (value.objectValue?.entries ?? []).map { ($0.key, $0.value) })
      .mapValues { $0.doubleValue.map { .number($0) } ?? $0 }
  }

  @Test(arguments: ["seq_bn", "double_seq_bn", "par_bn", "by layer", "invertible", "compacter"])
  func whatAdaptersSavesIsReadAndWrittenWithoutLoss(name: String) throws {
    let document = try Self.document(name)
    #expect(AdapterHubConfiguration.isOne(document))
    let read = try AdapterHubConfiguration(json: document, file: name)
    let written = read.json
    let (mine, theirs) = (try #require(written["config"]), try #require(document["config"]))
    #expect(flat(mine) == flat(theirs))
    for key in ["model_type", "hidden_size", "model_name", "model_class", "name", "version"] {
      #expect(written[key] == document[key], "\(key)")
    }
    try withTemporaryFolder { folder in
      try read.write(to: folder)
      #expect(try AdapterHubConfiguration.load(directory: folder) == read)
    }
  }

  @Test func madeOnesAreThoseOfAdapters() throws {
    for (name, made) in [
      ("seq_bn", AdapterHubConfiguration.sequential(name: "task", modelType: "bert")),
      ("double_seq_bn", .doubleSequential(name: "task", modelType: "bert", reductionFactor: 8)),
      ("par_bn", .parallel(name: "task", modelType: "bert")),
    ] {
      var made = made
      made.modelName = "base"
      made.modelClass = "BertAdapterModel"
      made.hiddenSize = 64
      let read = try AdapterHubConfiguration(json: try Self.document(name), file: name)
      #expect(made == read)
    }
  }

  @Test func whatDiffersFromThePlainBottleneckIsStated() throws {
    func read(_ name: String) throws -> AdapterHubConfiguration {
      try AdapterHubConfiguration(json: try Self.document(name), file: "adapter_config.json")
    }
    let byLayer = try read("by layer")
    #expect(byLayer.reductionFactor == .perLayer([0: 4], default: 16) && byLayer.reductionFactor.of(layer: 3) == 16)
    #expect(byLayer.leaveOut == [1] && byLayer.scaling == .named("learned") && byLayer.others.entries.isEmpty)
    #expect(try read("invertible").others.keys == ["inv_adapter", "inv_adapter_reduction_factor"])
    #expect(try read("compacter").others.keys.contains("phm_layer"))
    #expect(message { _ = try read("prefix") }.contains("architecture is prefix_tuning, expected a bottleneck"))
    // Before versions were written, gelu was what is gelu_new now.
    var old = try #require(try Self.document("by layer").objectValue)
    old["version"] = nil
    #expect(try AdapterHubConfiguration(json: .object(old), file: "").nonLinearity == "gelu_new")
  }

  @Test func headsHaveLabelsByTheirIds() throws {
    func head(_ text: String) throws -> AdapterHubHead {
      try AdapterHubHead(json: try JSONValue.parse(text, file: "test"), file: "head_config.json")
    }
    let known = #""config": null, "model_class": "BertForSequenceClassification""#
    let found = try head("{\(known), \"label2id\": {\"b\": 1, \"a\": 0}, \"hidden_size\": 64, \"name\": null}")
    #expect(found.labels == ["a", "b"] && found.hiddenSize == 64 && found.taskType == "SEQ_CLS")
    #expect(try AdapterHubHead(json: found.json, file: "") == found)
    #expect(try head("{\(known), \"num_labels\": 2}").labels == ["LABEL_0", "LABEL_1"])
    for (text, reason) in [
      (#"{"label2id": {"a": 0}}"#, "model_class is missing"), ("{\(known)}", "neither label2id nor num_labels"),
      ("{\(known), \"label2id\": {\"a\": 1}}", "gives a the id 1 of 1"),
      ("{\(known), \"label2id\": {\"a\": \"0\"}}", "the id"),
      ("{\(known), \"num_labels\": 99999999999}", "num_labels"),
      ("{\(known), \"num_labels\": 2, \"label2id\": {\"LABEL_1\": 0}}", "one name"),
      (#"{"config": {"head_type": "classification"}, "model_class": "BertAdapterModel"}"#, "AdapterHub's own"),
    ] {
      #expect(message { _ = try head(text) }.contains(reason), "\(text)")
    }
  }
}
