import Architectures
import Data
import Deployment
import Formats
import Testing
import Transformer
import WeightStore

struct PredictorTests {
  private static let tokenizer = """
    {"added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
     "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
     "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1}}}
    """
  private static let configuration = """
    {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": 32,
     "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 64,
     "max_position_embeddings": 24, "problem_type": "PROBLEM"}
    """

  /// A model whose numbers for labels are 32 times `weight`.
  private func write(_ weight: Float, problem: String, to folder: String) throws {
    let text = Self.configuration.replacing("PROBLEM", with: problem)
    try OutputFile.write(text, to: "\(folder)/config.json")
    try OutputFile.write(Self.tokenizer, to: "\(folder)/tokenizer.json")
    let json = try JSONValue.parse(text, file: "config.json")
    let values = ["classifier.weight": weight, "bert.pooler.dense.bias": 9]
    let description = try ModelDescription(json: json, file: "config.json")
    let tensors = description.tensors.map { tensor -> (name: String, shape: [Int], values: [Float]) in
      let count = tensor.shape.reduce(1, *)
      return (tensor.name, tensor.shape, [Float](repeating: values[tensor.name] ?? 0, count: count))
    }
    try SafetensorsWriter.write(tensors, to: "\(folder)/model.safetensors")
  }

  @Test(arguments: ["single_label_classification", "multi_label_classification", "regression"])
  func whatIsNotFiniteIsNoAnswer(problem: String) throws {
    func predict(_ weight: Float) throws -> Int {
      try withTemporaryFolder { folder in
        try write(weight, problem: problem, to: folder)
        let model = try LoadedModel(directory: folder, adapter: nil, precision: .int8, threads: 1)
        return try Predictor(model).predict([LabelledRow(.text("a", pair: nil), file: "file", line: 7)]).count
      }
    }
    #expect(try predict(1) == 1)
    #expect {
      _ = try predict(3e38)
    } throws: {
      "\($0)".contains("file:7 is not finite")
    }
  }
}
