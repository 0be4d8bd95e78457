/// Labels of tokens, as Hugging Face's data sets have them.
public enum Label {
  /// Of a token that carries no loss.
  public static let ignored: Int32 = -100
}
