//! Clients of Azure Batch and Blob over a Transport.
