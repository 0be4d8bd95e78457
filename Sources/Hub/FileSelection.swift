import Glibc

/// Which files of a repository are needed.
public enum FileSelection {
  /// Configuration, tokenizer and what travels along with weights.
  private static let companions: Set<String> = [
    "config.json", "generation_config.json", "adapter_config.json", "adapter.json", "head_config.json",
    "adapter_interface.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "merges.txt",
    "chat_template.jinja", "chat_template.json", "additional_chat_templates/tool_use.jinja",
  ]
  private static let weights = ["model.safetensors", "adapter_model.safetensors"]
  private static let tables = [".jsonl", ".json", ".csv", ".tsv", ".txt", ".conll", ".bio", ".iob"]

  /// - Parameters:
  ///   - wishes: patterns as of a shell (`*` also stands for `/`); a word without `*`, `?` and `[` is looked for anywhere in a
  ///     path, whatever the case. What fits one of them is taken, and nothing else.
  /// - Throws: `HubError.nothingToFetch`, which says what there is to choose from
  public static func choose(
    from files: [HubFile], of repository: RepositoryName, wishes: [String] = []
  ) throws -> [HubFile] {
    if !wishes.isEmpty {
      let chosen = files.filter { file in wishes.contains { fits(file.path, $0) } }
      guard !chosen.isEmpty else {
        throw HubError.nothingToFetch(
          repository: repository.text,
          reason: "no file fits --include \(wishes.joined(separator: " ")); there are \(list(files))")
      }
      return chosen
    }
    return try repository.kind == .model ? model(files, repository) : dataset(files, repository)
  }

  private static func fits(_ path: String, _ wish: String) -> Bool {
    guard wish.contains(where: { "*?[".contains($0) }) else { return path.lowercased().contains(wish.lowercased()) }
    return fnmatch(wish, path, 0) == 0
  }

  private static func list(_ files: [HubFile]) -> String {
    let shown = files.prefix(20).map { "\($0.path) (\(megabytes($0.byteCount)))" }.joined(separator: ", ")
    return shown.isEmpty ? "none" : shown + (files.count > 20 ? " and \(files.count - 20) more" : "")
  }

  private static func model(_ files: [HubFile], _ repository: RepositoryName) throws -> [HubFile] {
    let top = files.filter { !$0.path.contains("/") }
    let beside = files.filter { file in
      companions.contains(file.path) || file.path.hasPrefix("LICENSE") && !file.path.contains("/")
    }
    let safetensors = top.filter { $0.path.hasSuffix(".safetensors") }
    if !safetensors.isEmpty { return beside + parts(of: safetensors, top) }

    let gguf = files.filter { $0.path.lowercased().hasSuffix(".gguf") }
    // The parts of one model count as one file.
    let models = Set(gguf.map { splitStem($0.path) })
    if models.count == 1 { return gguf }
    if models.count > 1 {
      throw HubError.nothingToFetch(
        repository: repository.text,
        reason:
          "has \(models.count) GGUF files: choose one, such as --include \(example(gguf)); there are \(list(gguf))")
    }
    let pickled = top.contains { $0.path.hasSuffix(".bin") || $0.path.hasSuffix(".pt") || $0.path.hasSuffix(".pth") }
    throw HubError.nothingToFetch(
      repository: repository.text,
      reason: pickled
        ? "has only pickled weights (.bin), which may hold any program; look on its page for a revision with safetensors "
          + "(such as @refs/pr/1)"
        : "has neither safetensors nor GGUF; there are \(list(files))")
  }

  /// One copy of the weights: the whole file, or the parts that an index names, or all there are.
  private static func parts(of safetensors: [HubFile], _ top: [HubFile]) -> [HubFile] {
    for name in weights {
      if let whole = safetensors.first(where: { $0.path == name }) { return [whole] }
      guard let index = top.first(where: { $0.path == name + ".index.json" }) else { continue }
      let stem = name.prefix { $0 != "." } + "-"
      return [index] + safetensors.filter { $0.path.hasPrefix(stem) && $0.path.contains("-of-") }
    }
    return safetensors
  }

  /// `model-00001-of-00003.gguf` without its number.
  private static func splitStem(_ path: String) -> String {
    var stem = path.hasSuffix(".gguf") ? path.dropLast(5) : path[...]
    let tail = stem.suffix(15)
    if tail.hasPrefix("-"), tail.contains("-of-"), tail.filter(\.isNumber).count == 10 { stem = stem.dropLast(15) }
    return String(stem)
  }

  /// The kind of weights to propose where there are several: four bits if they are there.
  private static func example(_ files: [HubFile]) -> String {
    for kind in ["Q4_K_M", "Q4_0", "Q8_0"] where files.filter({ fits($0.path, kind) }).count == 1 { return kind }
    return files.first?.path ?? ""
  }

  private static func dataset(_ files: [HubFile], _ repository: RepositoryName) throws -> [HubFile] {
    let readable = files.filter { file in
      let name = file.path.lowercased()
      let isSetting = ["dataset_infos.json", "dataset_dict.json", "config.json"].contains(name)
      return !isSetting && tables.contains { name.hasSuffix($0) }
    }
    guard readable.isEmpty else { return readable }
    throw HubError.nothingToFetch(
      repository: repository.text,
      reason: "has no file of rows that can be read (\(tables.joined(separator: ", "))); there are \(list(files))"
        + (files.contains { $0.path.hasSuffix(".parquet") }
          ? "; turn Parquet into JSON lines on another machine, such as with pandas' to_json(lines=True, orient=\"records\")"
          : ""))
  }
}
