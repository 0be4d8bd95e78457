/// The program itself.
public enum Program {
  /// As `edge-lora --version` prints it, and as the checkpoints of a run carry it.
  public static let version = "0.1.0"
}
