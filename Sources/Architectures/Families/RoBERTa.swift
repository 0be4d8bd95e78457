/// RoBERTa: BERT's parts; the rows of positions begin behind that of padding. XLM-RoBERTa is the same with more words.
///
/// Sources: Liu et al. 2019, arXiv 1907.11692; Conneau et al. 2019, arXiv 1911.02116.
enum RoBERTa {
  static func describe(_ reader: ConfigurationReader, family: Family) throws -> ModelDescription {
    let padding = try reader.integer("pad_token_id", 0...999_999, default: 1)
    return try BERT.describe(
      reader, family: family, stem: "roberta", vocabulary: family == .xlmRoberta ? 30_522 : 50_265,
      positionOffset: padding + 1)
  }
}
