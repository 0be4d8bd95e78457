import Formats

/// The figures in a line of `metrics.jsonl`, each under the name that TensorBoard shows: `train/loss`, `eval/loss`,
/// `train/memory/weights`, `eval/labels/positive/f1`. Lists, such as a confusion matrix, are no figures.
public enum MetricsScalars {
  /// In the order of the line; the step is not among them.
  public static func of(_ line: JSONObject) -> [(tag: String, value: Double)] {
    let isEvaluation = line["eval_loss"] != nil
    return line.entries.flatMap { key, value -> [(tag: String, value: Double)] in
      guard key != "step" else { return [] }
      if key.hasPrefix("eval_") { return figures(value, "eval/" + key.dropFirst("eval_".count)) }
      return figures(value, (isEvaluation ? "eval/" : "train/") + key)
    }
  }

  private static func figures(_ value: JSONValue, _ tag: String) -> [(tag: String, value: Double)] {
    switch value {
    case .integer, .longInteger, .number: value.doubleValue.map { [(tag, $0)] } ?? []
    case .bool(let value): [(tag, value ? 1 : 0)]
    case .object(let object): object.entries.flatMap { figures($0.value, "\(tag)/\($0.key)") }
    case .null, .string, .array: []
    }
  }
}
